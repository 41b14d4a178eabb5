/* Paths inside the container's root, which belongs to strangers (hardening W1). */
#ifndef ESTIBA_RESOLVE_H
#define ESTIBA_RESOLVE_H

#include <sys/types.h>

/*
 * Opens `path` as if `root` were the root folder: symbolic links and `..` stay inside, magic links are refused
 * (openat2(2) RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, or a walk of our own). -1 and errno.
 */
int resolve(int root, const char *path, int flags);

/* The same for a folder that is made, with its parents, where it is missing. */
int resolve_directory(int root, const char *path, mode_t mode);

/*
 * Opens what `path` names, of whatever kind, or makes an empty file there. Where it is a symbolic link that leads to nothing the
 * file is made where it leads: /etc/resolv.conf of many images is one into an empty /run.
 */
int resolve_file(int root, const char *path);

/*
 * Opens the folder that holds the last component of `path`, making it when missing, and sets `name` to the component (of static
 * memory). EINVAL where there is no such component (`/`, `..`).
 */
int resolve_parent(int root, const char *path, const char **name);

#endif
