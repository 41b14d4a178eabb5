/* Paths beneath a folder. A symbolic link on the way is an error, not a detour: the sender has resolved those of its layer, so one
 * that is met here would be an attack or a mistake. */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "sys.h"

/* Refuses what the sender never sends: an absolute path, `.`, `..`, an empty component. */
static bool is_plain(const char *path)
{
    for (const char *at = path;;) {
        size_t length = strcspn(at, "/");
        if (length == 0 || (length == 1 && at[0] == '.') || (length == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        if (at[length] == '\0')
            return true;
        at += length + 1;
    }
}

/* The same without openat2(2) (before Linux 5.6, or refused by a filter around us): each component without following. */
static int walk(int root, const char *path, int flags)
{
    char component[256];
    int folder = root;
    for (const char *at = path;;) {
        size_t length = strcspn(at, "/");
        bool last = at[length] == '\0';
        int next = -1, error = ENAMETOOLONG;
        if (length < sizeof(component)) {
            memcpy(component, at, length);
            component[length] = '\0';
            next = openat(folder, component, (last ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC) | O_NOFOLLOW);
            error = errno;
        }
        if (folder != root)
            close(folder);
        errno = error;
        if (next < 0 || last)
            return next;
        folder = next;
        at += length + 1;
    }
}

static int open_below(int root, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | resolve,
    };
    if (!is_plain(path)) {
        errno = EINVAL;
        return -1;
    }
    int fd = sys_openat2(root, path, &how);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        return walk(root, path, flags | O_CLOEXEC);
    return fd;
}

int open_beneath(int root, const char *path, int flags)
{
    return open_below(root, path, flags, RESOLVE_NO_XDEV);
}

int rename_new(int from_folder, const char *from, int to_folder, const char *to)
{
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 1u /* RENAME_NOREPLACE; musl 1.2.3 has no renameat2() */);
}

void parent_forget(struct parent *parent)
{
    if (parent->fd >= 0)
        close(parent->fd);
    parent->fd = -1;
    parent->length = 0;
}

int parent_open(struct parent *parent, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
        errno = EINVAL;
        return -1;
    }
    if (!slash)
        return parent->root;
    size_t length = (size_t)(slash - path);
    if (parent->fd >= 0 && length == parent->length && memcmp(path, parent->path, length) == 0)
        return parent->fd;
    parent_forget(parent);
    if (length >= sizeof(parent->path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(parent->path, path, length);
    parent->path[length] = '\0';
    parent->fd = open_below(parent->root, parent->path, O_PATH | O_DIRECTORY, parent->mounts ? 0 : RESOLVE_NO_XDEV);
    parent->length = length;
    return parent->fd;
}
