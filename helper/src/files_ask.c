/* Questions about a container's files. What is opened for its content is a regular file or a folder when it is looked at, and never a
 * device: every mount here is `nodev`. Whatever changes between two questions can only make an answer useless, not unsafe. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base.h"
#include "resolve.h"

enum {
    MAX_XATTR = 65536, /* XATTR_LIST_MAX and XATTR_SIZE_MAX (linux/limits.h) */
    MAX_PARTS = 1024,
};

struct part {
    uint64_t offset, length;
};

static void answer_errno(void)
{
    answer_number(errno ? (uint32_t)errno : EIO);
}

/* `folder` and `name` are where it is, for a symbolic link's target. */
static void answer_status(int folder, const char *name, const struct stat *entry)
{
    char target[4096];
    ssize_t length = S_ISLNK(entry->st_mode) ? readlinkat(folder, name, target, sizeof target) : 0;
    struct __attribute__((packed)) {
        uint32_t mode, uid, gid, links;
        uint64_t device, inode, size;
        int64_t mtime;
        uint32_t nanoseconds, major, minor, length;
    } status = {
        entry->st_mode, entry->st_uid, entry->st_gid, (uint32_t)entry->st_nlink, entry->st_dev, entry->st_ino, (uint64_t)entry->st_size,
        entry->st_mtim.tv_sec, (uint32_t)entry->st_mtim.tv_nsec, major(entry->st_rdev), minor(entry->st_rdev),
        length > 0 ? (uint32_t)length : 0,
    };

    answer(&status, sizeof status);
    answer(target, status.length);
}

static void answer_attributes(int fd)
{
    static char names[MAX_XATTR], value[MAX_XATTR];
    ssize_t size = flistxattr(fd, names, sizeof names);

    for (const char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
        ssize_t length = fgetxattr(fd, name, value, sizeof value);
        if (length < 0) /* it went, or is not for us */
            continue;
        answer_number((uint32_t)strlen(name));
        answer(name, strlen(name));
        answer_number((uint32_t)length);
        answer(value, (size_t)length);
    }
    answer_number(0);
}

/* The base or what is below it; -1 and errno. */
static int open_entry(struct tree *tree, const char *path, int flags)
{
    const char *name = ".";
    int folder = *path ? parent_open(&tree->base, path, &name) : tree->base.root;

    return folder < 0 ? -1 : openat(folder, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void ask_base(struct tree *tree, const char *path)
{
    int fd = resolve(tree->root, path, O_PATH | O_DIRECTORY);

    if (fd < 0) {
        answer_errno();
        return;
    }
    parent_forget(&tree->base);
    if (tree->base.root != tree->root)
        close(tree->base.root);
    tree->base.root = fd;
    answer_number(0);
}

static void ask_stat(struct tree *tree, const char *path, uint32_t follow)
{
    struct stat entry;
    autoclose fd = follow ? resolve(tree->root, path, O_PATH | (follow == 1 ? O_NOFOLLOW : 0)) : open_entry(tree, path, O_PATH);

    if (fd < 0 || fstat(fd, &entry) != 0) {
        answer_errno();
        return;
    }
    answer_number(0);
    answer_status(fd, "", &entry);
}

static void answer_entries(int folder)
{
    static char batch[65536] __attribute__((aligned(8)));
    struct stat entry;
    long got;

    while ((got = syscall(SYS_getdents64, folder, batch, sizeof batch)) > 0) {
        for (long at = 0; at < got;) {
            const struct entry64 *found = (const void *)(batch + at);
            size_t length = strlen(found->name);
            at += found->length;
            if (strcmp(found->name, ".") == 0 || strcmp(found->name, "..") == 0 || fstatat(folder, found->name, &entry, AT_SYMLINK_NOFOLLOW) != 0)
                continue; /* or it is gone already */
            answer_number((uint32_t)length);
            answer(found->name, length);
            answer_status(folder, found->name, &entry);
        }
    }
    answer_number(0);
    answer_number(got < 0 ? (uint32_t)errno : 0);
}

static void ask_list(struct tree *tree, const char *path)
{
    struct stat folder;
    autoclose fd = open_entry(tree, path, O_RDONLY | O_DIRECTORY);

    if (fd < 0 || fstat(fd, &folder) != 0) {
        answer_errno();
        return;
    }
    answer_number(0);
    answer_status(fd, "", &folder);
    answer_attributes(fd);
    answer_entries(fd);
}

/* What holds data (lseek(2), SEEK_DATA). A file system that knows no holes shows one part; so does the rest of a file with very many. */
static size_t find_parts(int fd, uint64_t size, struct part parts[MAX_PARTS])
{
    size_t count = 0;

    for (uint64_t at = 0; at < size;) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t hole = data < 0 || count == MAX_PARTS - 1 ? -1 : lseek(fd, data, SEEK_HOLE);
        uint64_t first = data < 0 ? at : (uint64_t)data, end = hole < 0 ? size : (uint64_t)hole;
        if (first >= size)
            break;
        end = end < size ? end : size;
        parts[count++] = (struct part){first, end - first};
        at = end;
    }
    return count;
}

static void answer_zeros(uint64_t length)
{
    static const char zeros[4096];

    for (; length > 0; length -= length < sizeof zeros ? length : sizeof zeros)
        answer(zeros, length < sizeof zeros ? (size_t)length : sizeof zeros);
}

static void answer_content(int fd, const struct stat *file)
{
    static struct part parts[MAX_PARTS];
    bool holes = (uint64_t)file->st_blocks * 512 < (uint64_t)file->st_size;
    size_t count = holes ? find_parts(fd, (uint64_t)file->st_size, parts) : file->st_size > 0;
    uint32_t error = 0;

    if (!holes)
        parts[0] = (struct part){0, (uint64_t)file->st_size};
    answer_number((uint32_t)count);
    answer(parts, count * sizeof *parts);
    for (size_t i = 0; i < count; i++) {
        uint64_t done = answer_file(fd, parts[i].offset, parts[i].length);
        if (done < parts[i].length)
            error = errno ? (uint32_t)errno : EIO;
        answer_zeros(parts[i].length - done);
    }
    answer_number(error);
}

static void ask_read(struct tree *tree, const char *path)
{
    struct stat file;
    autoclose fd = open_entry(tree, path, O_RDONLY);

    if (fd < 0 || fstat(fd, &file) != 0) {
        answer_errno();
        return;
    }
    if (!S_ISREG(file.st_mode)) {
        answer_number(S_ISDIR(file.st_mode) ? EISDIR : ENOTSUP);
        return;
    }
    answer_number(0);
    answer_status(fd, "", &file);
    answer_attributes(fd);
    answer_content(fd, &file);
}

static struct tree *tree_of(struct tree trees[TREES], const union value *number)
{
    if (number->u >= TREES || trees[number->u].root < 0)
        jail_fail(STDERR_FILENO, "input", EPROTO, "");
    return &trees[number->u];
}

bool files_ask(struct tree trees[TREES], const struct op *op)
{
    const union arguments *args = &op->args;

    if (op->schema->code < OP_FILES_BASE || op->schema->code > OP_FILES_READ)
        return false;
    struct tree *tree = tree_of(trees, &args->all[0]);
    const char *path = args->all[1].s.data;
    if (op_is(op, OP_FILES_BASE))
        ask_base(tree, path);
    else if (op_is(op, OP_FILES_STAT))
        ask_stat(tree, path, args->files_stat.follow.u);
    else if (op_is(op, OP_FILES_LIST))
        ask_list(tree, path);
    else
        ask_read(tree, path);
    return true;
}
