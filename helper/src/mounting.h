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
/* Makes `root`, a mount, the root of the mount namespace and takes the old one off. */
void pivot_into(int root);

#endif
