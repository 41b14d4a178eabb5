/* What the files that mount share (mount.c). */
#ifndef ESTIBA_MOUNTING_H
#define ESTIBA_MOUNTING_H

#include "container.h"

/* Attaches a detached mount at `target`; fails naming `path`. */
void attach(const char *step, int mount, int target, const char *path);
/* A context for a new file system of `type` (fsopen(2)), its source named after it. */
int fs_open(const char *type);
/* Fails with errno and what the file system itself says about it. */
_Noreturn void fs_fail(const char *step, int fs, const char *path);
/* Fails when the target is the container's root itself. */
void refuse_root(struct container *self, const char *step, int target, const char *path);
void refuse_proc(const char *step, int target, const char *path);
/* Where `source` can be bound: a folder or a file in the container's root, made when missing; -1 and errno. */
int bind_target(struct container *self, int source, const char *path);
/* A folder for a mount of this type, made when missing; fails where none may be. */
int mount_target(struct container *self, const char *type, const char *path);
/* A new file system that is not attached yet; `path` is for messages. */
int fs_mount(const char *type, const char *source, const char *path, const union value *options, unsigned flags);
/* volume.c: what the folder `from` holds, and its own status, into the new folder `to`. */
void fill_folder(int from, int to, const char *path);
/* Closes every descriptor of the host but those that the program gets. */
void let_go_of_host(struct container *self);
/* Makes `root`, a mount, the root of the mount namespace and takes the old one off. */
void pivot_into(int root);

#endif
