/*
 * Changes of a container's files. What is made is given its owner, mode and attributes through a descriptor of its own, so that a
 * program in the container that exchanges names meanwhile cannot turn them on a file of another user.
 */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base.h"

enum kind { FOLDER, LINK, PIPE, HARD_LINK };

static const char *path_at_work = "";
static const char *record_name = "input";
static struct parent target_parent; /* of a hard link's target */
static int opened = -1;
static bool folder_open, in_place;

static void must(int result)
{
    if (result < 0)
        jail_fail(STDERR_FILENO, record_name, errno, path_at_work);
}

static _Noreturn void refuse(int error)
{
    jail_fail(STDERR_FILENO, record_name, error, path_at_work);
}

static int place_of(struct tree *tree, const char *path, const char **name)
{
    int folder = parent_open(&tree->base, path, name);

    must(folder);
    return folder;
}

/* Takes away what is there and no folder. -1 and errno when it cannot be, EBUSY when it is mounted on. */
static int clear(int folder, const char *name)
{
    int result = unlinkat(folder, name, 0);

    return result < 0 && errno == ENOENT ? 0 : result;
}

enum { TRIES = 100 }; /* against a program that makes the name again and again */

static void make_folder(int folder, const char *name, uid_t uid, gid_t gid)
{
    int made = mkdirat(folder, name, 0700);

    if (made < 0 && errno != EEXIST)
        must(-1);
    autoclose fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    must(fd); /* ENOTDIR: a folder does not take the place of something else */
    if (made == 0)
        must(fchown(fd, uid, gid));
}

/* One try to make a link or pipe; EEXIST when the name is taken. */
static int make_once(struct tree *tree, int folder, const char *name, const union arguments *args)
{
    const char *target = args->files_make.target.s.data, *target_name;

    switch (args->files_make.kind.u) {
    case LINK:
        return symlinkat(target, folder, name);
    case PIPE:
        return mknodat(folder, name, S_IFIFO | (args->files_make.mode.u & 01777), 0);
    case HARD_LINK: {
        target_parent = (struct parent){.root = tree->base.root, .fd = -1, .mounts = true};
        int target_folder = parent_open(&target_parent, target, &target_name);
        /* The link itself, never what it leads to. */
        int result = target_folder < 0 ? -1 : linkat(target_folder, target_name, folder, name, 0);
        int error = errno;
        parent_forget(&target_parent);
        errno = error;
        return result;
    }
    default:
        refuse(EPROTO);
    }
}

/* Owner and time of a link or pipe that was made a moment ago. One that was exchanged meanwhile for something else is left. */
static void describe(int folder, const char *name, const union arguments *args)
{
    mode_t wanted = args->files_make.kind.u == LINK ? S_IFLNK : S_IFIFO;
    const struct timespec time = {(time_t)args->files_make.mtime.q, (long)args->files_make.nanoseconds.u}, times[2] = {time, time};
    struct stat entry;
    autoclose fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    must(fd);
    must(fstat(fd, &entry));
    if ((entry.st_mode & S_IFMT) != wanted || entry.st_nlink != 1)
        refuse(ESTALE);
    must(fchownat(fd, "", args->files_make.uid.u, args->files_make.gid.u, AT_EMPTY_PATH));
    must(utimensat(fd, "", times, AT_EMPTY_PATH));
}

static void make(struct tree *tree, const union arguments *args)
{
    const char *name;
    int folder = place_of(tree, args->files_make.path.s.data, &name), result;

    if (args->files_make.kind.u == FOLDER) {
        make_folder(folder, name, args->files_make.uid.u, args->files_make.gid.u);
        return;
    }
    for (int i = 0; (result = make_once(tree, folder, name, args)) < 0 && errno == EEXIST && i < TRIES; i++)
        must(clear(folder, name));
    must(result);
    if (args->files_make.kind.u != HARD_LINK)
        describe(folder, name, args);
}

/* A file that is mounted there cannot be replaced: it is emptied and keeps its owner and mode. */
static int open_mounted(int folder, const char *name, off_t size)
{
    struct stat entry;
    autoclose fd = openat(folder, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    must(fd);
    must(fstat(fd, &entry));
    if (!S_ISREG(entry.st_mode))
        refuse(EBUSY);
    must(ftruncate(fd, 0));
    must(ftruncate(fd, size));
    return keep_fd(&fd);
}

static void open_file(struct tree *tree, const union arguments *args)
{
    const char *name;
    int folder = place_of(tree, args->files_open.path.s.data, &name);

    in_place = false;
    for (int i = 0; i < TRIES; i++) {
        opened = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (opened >= 0 || errno != EEXIST)
            break;
        if (clear(folder, name) < 0) {
            in_place = errno == EBUSY;
            must(in_place ? 0 : -1);
            opened = open_mounted(folder, name, (off_t)args->files_open.size.q);
            return;
        }
    }
    must(opened);
    /* Both take set-id bits and capabilities away, so they come first. */
    must(fchown(opened, args->files_open.uid.u, args->files_open.gid.u));
    must(ftruncate(opened, (off_t)args->files_open.size.q));
}

static void open_folder(struct tree *tree, const union arguments *args)
{
    const char *path = args->files_open.path.s.data, *name = ".";
    int folder = *path ? place_of(tree, path, &name) : tree->base.root;

    in_place = false;
    opened = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    must(opened);
    must(fchown(opened, args->files_open.uid.u, args->files_open.gid.u));
}

static void write_content(const union arguments *args)
{
    if (folder_open)
        refuse(EPROTO);
    must(write_all_at(opened, args->unpack_data.content.b.data, args->unpack_data.content.b.size, (off_t)args->unpack_data.offset.q));
}

static void set_attribute(const union arguments *args)
{
    if (!in_place)
        must(fsetxattr(opened, args->files_xattr.name.s.data, args->files_xattr.value.b.data, args->files_xattr.value.b.size, 0));
}

static void close_entry(const union arguments *args)
{
    const struct timespec time = {(time_t)args->files_close.mtime.q, (long)args->files_close.nanoseconds.u}, times[2] = {time, time};

    if (!in_place)
        must(fchmod(opened, args->files_close.mode.u & 07777));
    must(futimens(opened, times));
    must(close(opened));
    opened = -1;
}

static void open_entry(struct tree *tree, const union arguments *args)
{
    static char path[4096]; /* outlives the record: later errors name it */

    if ((size_t)snprintf(path, sizeof path, "%s", args->files_open.path.s.data) >= sizeof path)
        refuse(ENAMETOOLONG);
    path_at_work = path;
    folder_open = args->files_open.folder.u != 0;
    if (folder_open)
        open_folder(tree, args);
    else
        open_file(tree, args);
}

bool files_are_complete(void)
{
    return opened < 0;
}

bool files_make(struct tree *tree, const struct op *op)
{
    bool content = op_is(op, OP_UNPACK_DATA) || op_is(op, OP_FILES_XATTR) || op_is(op, OP_FILES_CLOSE);

    if (content != (opened >= 0))
        return false;
    record_name = content || op_is(op, OP_FILES_OPEN) ? "write-file" : "make";
    if (op_is(op, OP_FILES_MAKE)) {
        path_at_work = op->args.files_make.path.s.data;
        make(tree, &op->args);
        path_at_work = "";
    } else if (op_is(op, OP_FILES_OPEN)) {
        open_entry(tree, &op->args);
    } else if (op_is(op, OP_UNPACK_DATA)) {
        write_content(&op->args);
    } else if (op_is(op, OP_FILES_XATTR)) {
        set_attribute(&op->args);
    } else if (op_is(op, OP_FILES_CLOSE)) {
        close_entry(&op->args);
    } else {
        return false;
    }
    return true;
}
