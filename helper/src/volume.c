/* Folders of a container's own, and a root that becomes read-only beneath them.
 *
 * A volume is filled from the image inside the container's own namespaces, by descriptors, before any process of the container
 * runs: what the image holds there is data and nothing else. */
#define _GNU_SOURCE
#include <dirent.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base.h"
#include "container.h"
#include "mounting.h"
#include "resolve.h"
#include "sys.h"

enum {
    MAX_DEPTH = 256, /* a folder holds two descriptors while it is copied */
    MAX_XATTR = 65536, /* XATTR_SIZE_MAX (linux/limits.h) */
};

static const char *volume; /* for messages */

static _Noreturn void cannot_copy(const char *name)
{
    fail(LAUNCH, "volume", errno, NULL, "%s: copying %s", volume, name);
}

static void close_directory(DIR **folder)
{
    if (*folder != NULL)
        closedir(*folder);
}

/* The marks of overlayfs are of the layers, not of the content. */
static bool is_content(const char *attribute)
{
    return strcmp(attribute, "security.capability") == 0 ||
           (strncmp(attribute, "user.", 5) == 0 && strncmp(attribute, "user.overlay.", 13) != 0);
}

static void copy_attributes(int from, int to, const char *name)
{
    static char names[MAX_XATTR], value[MAX_XATTR];
    ssize_t size = flistxattr(from, names, sizeof names);

    if (size < 0 && errno != ENOTSUP)
        cannot_copy(name);
    for (const char *next = names; size > 0 && next < names + size; next += strlen(next) + 1) {
        if (!is_content(next))
            continue;
        ssize_t length = fgetxattr(from, next, value, sizeof value);
        if (length < 0 || fsetxattr(to, next, value, (size_t)length, 0) != 0)
            cannot_copy(name);
    }
}

/* Owner before mode and attributes: a change of owner takes set-uid bits and capabilities away (chown(2)). */
static void copy_status(int from, int to, const struct stat *status, const char *name)
{
    const struct timespec times[2] = {status->st_atim, status->st_mtim};

    if (fchown(to, status->st_uid, status->st_gid) != 0 || fchmod(to, status->st_mode & 07777) != 0)
        cannot_copy(name);
    copy_attributes(from, to, name);
    if (futimens(to, times) != 0)
        cannot_copy(name);
}

static void copy_file(int from_folder, int to_folder, const char *name, const struct stat *status)
{
    autoclose from = openat(from_folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    autoclose to = openat(to_folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    ssize_t moved = 1;

    if (from < 0 || to < 0)
        cannot_copy(name);
    while (moved > 0)
        moved = sendfile(to, from, NULL, 1 << 30);
    if (moved < 0)
        cannot_copy(name);
    copy_status(from, to, status, name);
}

static void copy_other(int from, int to, const char *name, const struct stat *status)
{
    static char target[4096];

    if (S_ISLNK(status->st_mode)) {
        ssize_t size = readlinkat(from, name, target, sizeof target - 1);
        if (size < 0)
            cannot_copy(name);
        target[size] = '\0';
        if (symlinkat(target, to, name) != 0)
            cannot_copy(name);
    } else if (S_ISFIFO(status->st_mode)) {
        if (mkfifoat(to, name, status->st_mode & 07777) != 0)
            cannot_copy(name);
    } else {
        return; /* sockets have no content, devices are not made in a user namespace */
    }
    if (fchownat(to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) != 0)
        cannot_copy(name);
}

static void copy_folder(int from, int to, unsigned depth);

static void copy_subfolder(int from_folder, int to_folder, const char *name, const struct stat *status, unsigned depth)
{
    autoclose from = openat(from_folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (from < 0 || mkdirat(to_folder, name, 0700) != 0)
        cannot_copy(name);
    autoclose to = openat(to_folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0)
        cannot_copy(name);
    copy_folder(from, to, depth + 1);
    copy_status(from, to, status, name);
}

/* The entries of a folder, not the folder itself. */
static void copy_folder(int from, int to, unsigned depth)
{
    __attribute__((cleanup(close_directory))) DIR *folder = NULL;
    struct dirent *entry;
    struct stat status;

    if (depth > MAX_DEPTH)
        fail(LAUNCH, "volume", E2BIG, NULL, "%s: folders are nested more than %d deep", volume, MAX_DEPTH);
    int copy = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0 || (folder = fdopendir(copy)) == NULL)
        cannot_copy(".");
    while ((entry = readdir(folder)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            cannot_copy(name);
        if (S_ISDIR(status.st_mode))
            copy_subfolder(from, to, name, &status, depth);
        else if (S_ISREG(status.st_mode))
            copy_file(from, to, name, &status);
        else
            copy_other(from, to, name, &status);
    }
}

static bool is_empty(int folder)
{
    __attribute__((cleanup(close_directory))) DIR *entries = NULL;
    struct dirent *entry;
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (copy < 0 || (entries = fdopendir(copy)) == NULL)
        cannot_copy(".");
    while ((entry = readdir(entries)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return false;
    return true;
}

void op_volume(struct container *self, const struct op *op)
{
    struct mount_attr attributes = {.attr_set = op->args.volume.flags.q};
    uint32_t number = op->args.volume.slot.u;
    struct stat status;

    volume = op->args.volume.target.s.data;
    autoclose target = resolve_directory(self->root, volume, 0755);
    if (target < 0)
        fail(LAUNCH, "volume", errno, NULL, "%s", volume);
    refuse_root(self, "volume", target, volume);
    refuse_proc("volume", target, volume);
    autoclose source = openat(target, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    autoclose mount = slot_mount(self, number, false);
    if (source < 0 || mount < 0 || fstat(source, &status) != 0)
        fail(LAUNCH, "volume", errno, NULL, "%s", volume);
    /* Attached before it is written to: a detached mount of the keeper's namespace has no business here yet. */
    attach("volume", mount, target, volume);
    autoclose folder = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        fail(LAUNCH, "volume", errno, NULL, "%s", volume);
    if (is_empty(folder)) {
        copy_folder(source, folder, 0);
        copy_status(source, folder, &status, ".");
    }
    if (sys_mount_setattr(mount, "", AT_EMPTY_PATH, &attributes) != 0)
        fail(LAUNCH, "volume", errno, NULL, "%s", volume);
}

void fill_folder(int from, int to, const char *path)
{
    struct stat status;
    autoclose folder = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    volume = path;
    if (folder < 0 || fstat(from, &status) != 0)
        fail(LAUNCH, "volume", errno, NULL, "%s", path);
    copy_folder(from, folder, 0);
    copy_status(from, folder, &status, ".");
}

void op_readonly_root(struct container *self, const struct op *op)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};

    (void)op;
    if (sys_mount_setattr(self->root, "", AT_EMPTY_PATH, &attributes) != 0)
        fail(LAUNCH, "readonly_root", errno, NULL, "the container's root");
}
