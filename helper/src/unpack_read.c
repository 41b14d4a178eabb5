/* estiba-init read: answers with the content and metadata of a layer's files, for those who rebuild or check its archive. In the jail too: the
 * ids on disk may be the caller's subordinate ones, and no process outside should follow what a layer holds. */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

static struct parent parent;

/* A file that is longer or shorter than the archive says is damage that the receiver names; one that shrinks while it is read ends us. */
static void answer_content(int fd, uint64_t offset, uint64_t length)
{
    struct stat file;
    if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode) || offset > (uint64_t)file.st_size || length > (uint64_t)file.st_size - offset) {
        answer_number(EIO);
        return;
    }
    answer_number(0);
    if (answer_file(fd, offset, length) < length) {
        answer_flush();
        _exit(1);
    }
}

static void answer_read(const union arguments *arguments)
{
    const char *name;
    int folder = parent_open(&parent, arguments->unpack_read.path.s.data, &name);
    autoclose fd = folder < 0 ? -1 : openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        answer_number((uint32_t)errno);
        return;
    }
    answer_content(fd, arguments->unpack_read.offset.q, arguments->unpack_read.length.q);
}

static void answer_stat(const union arguments *arguments)
{
    struct stat entry;
    char target[4096];
    const char *name;
    int folder = parent_open(&parent, arguments->unpack_stat.path.s.data, &name);
    if (folder < 0 || fstatat(folder, name, &entry, AT_SYMLINK_NOFOLLOW) < 0) {
        answer_number((uint32_t)errno);
        return;
    }
    ssize_t length = S_ISLNK(entry.st_mode) ? readlinkat(folder, name, target, sizeof(target)) : 0;
    if (length < 0) {
        answer_number((uint32_t)errno);
        return;
    }
    struct __attribute__((packed)) {
        uint32_t error, mode, uid, gid;
        uint64_t size;
        int64_t mtime;
        uint32_t nanoseconds, length;
    } reply = { 0, entry.st_mode, entry.st_uid, entry.st_gid, (uint64_t)entry.st_size, entry.st_mtim.tv_sec, (uint32_t)entry.st_mtim.tv_nsec,
            (uint32_t)length };
    answer(&reply, sizeof(reply));
    answer(target, (size_t)length);
}

static int body(void)
{
    struct op op;
    parent.fd = -1;
    record_open(2);
    parent.root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent.root < 0)
        jail_fail(2, "open", errno, "");
    jail_lock(&parent.root, 1, true, 0);
    for (;;) {
        if (!record_waiting())
            answer_flush(); /* the other side may wait for these answers before it asks again */
        if (!record_next(&op))
            return 0;
        if (op_is(&op, OP_UNPACK_READ))
            answer_read(&op.args);
        else if (op_is(&op, OP_UNPACK_STAT))
            answer_stat(&op.args);
        else
            jail_fail(2, "input", EPROTO, "");
    }
}

int read_main(const struct plan *plan)
{
    return jail_run(plan, (struct jail_options){.read_only = true, .errors = 2}, body);
}
