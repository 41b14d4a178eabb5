#define _GNU_SOURCE
#include "resolve.h"

#include <linux/magic.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base.h"
#include "sys.h"

enum { MAX_LINKS = 40, MAX_DEPTH = 256 }; /* path_resolution(7): 40 links */
enum { PROC_ROOT_INODE = 1 };             /* linux/proc_fs.h */

/* The folders from the root to where a walk is, so that `..` needs no lookup: a rename cannot lead it outside. */
struct walk {
    int stack[MAX_DEPTH];
    size_t depth; /* of the root: 0 */
    int links;
};

static void leave_walk(struct walk *walk)
{
    while (walk->depth > 0)
        close(walk->stack[walk->depth--]);
}

static int step(struct walk *walk, const char *path, int flags);

/* Links in the root folder of a procfs (`self`, `mounts`) name their target; those of a process lead anywhere. */
static bool is_magic(const struct walk *walk, int link)
{
    struct statfs fs;
    struct stat folder;

    if (fstatfs(link, &fs) != 0 || fs.f_type != PROC_SUPER_MAGIC)
        return false;
    return fstat(walk->stack[walk->depth], &folder) != 0 || folder.st_ino != PROC_ROOT_INODE;
}

/* Follows the symbolic link that `link` is, unless it is magic. */
static int follow(struct walk *walk, int link, const char *rest, int flags)
{
    char target[2 * PATH_MAX];
    ssize_t size = readlinkat(link, "", target, PATH_MAX - 1);

    if (size < 0)
        return -1;
    if (++walk->links > MAX_LINKS || is_magic(walk, link)) {
        errno = ELOOP;
        return -1;
    }
    if (strlen(rest) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    target[size] = '/';
    strcpy(target + size + 1, rest);
    if (target[0] == '/')
        leave_walk(walk);
    return step(walk, target, flags);
}

static int step(struct walk *walk, const char *path, int flags)
{
    char name[NAME_MAX + 1];
    struct stat status;

    while (*path == '/')
        path++;
    size_t size = strcspn(path, "/");
    const char *rest = path + size + strspn(path + size, "/");
    if (size == 0)
        return openat(walk->stack[walk->depth], ".", flags | O_NOFOLLOW);
    if (size > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name, path, size);
    name[size] = '\0';
    if (strcmp(name, ".") == 0)
        return step(walk, rest, flags);
    if (strcmp(name, "..") == 0) {
        if (walk->depth > 0)
            close(walk->stack[walk->depth--]);
        return step(walk, rest, flags);
    }
    autoclose next = openat(walk->stack[walk->depth], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0 || fstat(next, &status) != 0)
        return -1;
    if (S_ISLNK(status.st_mode) && (*rest != '\0' || (flags & O_NOFOLLOW) == 0))
        return follow(walk, next, rest, flags);
    if (*rest == '\0' && !S_ISDIR(status.st_mode))
        return openat(walk->stack[walk->depth], name, flags | O_NOFOLLOW);
    if (walk->depth + 1 == MAX_DEPTH) {
        errno = ELOOP;
        return -1;
    }
    walk->stack[++walk->depth] = keep_fd(&next);
    return step(walk, rest, flags);
}

static int resolve_by_walk(int root, const char *path, int flags)
{
    static struct walk walk;

    walk.stack[0] = root;
    walk.depth = 0;
    walk.links = 0;
    int fd = step(&walk, path, flags | O_CLOEXEC);
    int error = errno;
    leave_walk(&walk);
    errno = error;
    return fd;
}

int resolve(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

    /* EAGAIN: something was renamed or mounted somewhere meanwhile, and `..` could not be proved safe (openat2(2)). */
    for (int i = 0; i < 64; i++) {
        int fd = sys_openat2(root, path, &how);
        if (fd >= 0 || errno != EAGAIN)
            return fd < 0 && (errno == ENOSYS || errno == EPERM) ? resolve_by_walk(root, path, flags) : fd;
    }
    return resolve_by_walk(root, path, flags);
}

static int make_directories(int root, const char *path, mode_t mode, int depth);

/* `parent/name` is missing, or a symbolic link to something missing: the folder is made where the link leads. */
static int make_missing(int root, const char *prefix, size_t length, const char *name, mode_t mode, int depth)
{
    char path[2 * PATH_MAX], link[PATH_MAX];

    if (length >= PATH_MAX || depth > MAX_LINKS) {
        errno = depth > MAX_LINKS ? ELOOP : ENAMETOOLONG;
        return -1;
    }
    memcpy(path, prefix, length);
    path[length] = '\0';
    autoclose parent = resolve(root, length > 0 ? path : "/", O_PATH | O_DIRECTORY);
    if (parent < 0)
        return -1;
    ssize_t size = readlinkat(parent, name, link, sizeof link - 1);
    if (size < 0)
        return mkdirat(parent, name, mode) == 0 || errno == EEXIST ? 0 : -1;
    link[size] = '\0';
    if (link[0] == '/') {
        strcpy(path, link);
    } else {
        path[length] = '/';
        strcpy(path + length + 1, link);
    }
    int made = make_directories(root, path, mode, depth + 1);
    if (made < 0)
        return -1;
    close(made);
    return 0;
}

static int make_directories(int root, const char *path, mode_t mode, int depth)
{
    size_t length = strlen(path);
    char prefix[2 * PATH_MAX];

    if (length >= sizeof prefix) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t done = 0, end; done < length; done = end) {
        size_t start = done + strspn(path + done, "/");
        end = start + strcspn(path + start, "/");
        if (end == start)
            break;
        memcpy(prefix, path, end);
        prefix[end] = '\0';
        autoclose fd = resolve(root, prefix, O_PATH);
        if (fd >= 0)
            continue;
        if (errno != ENOENT || make_missing(root, path, start, prefix + start, mode, depth) != 0)
            return -1;
    }
    return resolve(root, path[0] ? path : "/", O_PATH | O_DIRECTORY);
}

int resolve_directory(int root, const char *path, mode_t mode)
{
    int fd = resolve(root, path, O_PATH | O_DIRECTORY);

    return fd >= 0 || errno != ENOENT ? fd : make_directories(root, path, mode, 0);
}

int resolve_parent(int root, const char *path, const char **name)
{
    static char copy[PATH_MAX];
    size_t length = strlen(path);

    while (length > 0 && path[length - 1] == '/')
        length--;
    if (length == 0 || length >= sizeof copy) {
        errno = length == 0 ? EINVAL : ENAMETOOLONG;
        return -1;
    }
    memcpy(copy, path, length);
    copy[length] = '\0';
    char *slash = strrchr(copy, '/');
    *name = slash ? slash + 1 : copy;
    if (strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
        errno = EINVAL;
        return -1;
    }
    if (slash == NULL || slash == copy)
        return resolve(root, "/", O_PATH | O_DIRECTORY);
    *slash = '\0';
    return resolve_directory(root, copy, 0755);
}

/* Replaces the last component of `path` by what the symbolic link there says. */
static int replace_last(char path[PATH_MAX], const char *link)
{
    size_t length = strlen(path), size = strlen(link);

    while (length > 0 && path[length - 1] == '/')
        length--;
    while (length > 0 && path[length - 1] != '/')
        length--;
    if (link[0] == '/')
        length = 0;
    if (length + size >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(path + length, link, size + 1);
    return 0;
}

int resolve_file(int root, const char *path)
{
    char next[PATH_MAX] = "", link[PATH_MAX];
    const char *name;
    int fd = resolve(root, path, O_PATH);

    if (fd >= 0 || errno != ENOENT || replace_last(next, path) != 0)
        return fd >= 0 ? fd : -1;
    for (int links = 0; links <= MAX_LINKS; links++) {
        autoclose parent = resolve_parent(root, next, &name);
        if (parent < 0)
            return -1;
        fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd >= 0 || errno != EEXIST)
            return fd;
        ssize_t size = readlinkat(parent, name, link, sizeof link - 1);
        if (size < 0)
            return -1;
        link[size] = '\0';
        if (replace_last(next, link) != 0)
            return -1;
    }
    errno = ELOOP;
    return -1;
}
