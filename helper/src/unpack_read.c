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

enum { BUFFER = 256 * 1024 };

static unsigned char answer[BUFFER];
static size_t answered;
static struct parent parent;

static void flush(void)
{
    if (write_all(1, answer, answered) < 0)
        _exit(1); /* nobody listens any more */
    answered = 0;
}

static void put(const void *bytes, size_t length)
{
    if (answered + length > BUFFER)
        flush();
    memcpy(answer + answered, bytes, length);
    answered += length;
}

static void put_error(int error)
{
    uint32_t number = (uint32_t)error;
    put(&number, sizeof(number));
}

/* A file that is longer or shorter than the archive says is damage that the receiver names; one that shrinks while it is read ends us. */
static void answer_content(int fd, uint64_t offset, uint64_t length)
{
    struct stat file;
    if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode) || offset > (uint64_t)file.st_size || length > (uint64_t)file.st_size - offset) {
        put_error(EIO);
        return;
    }
    put_error(0);
    while (length) {
        if (answered == BUFFER)
            flush();
        size_t room = BUFFER - answered;
        ssize_t got = pread(fd, answer + answered, length < room ? length : room, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            flush();
            _exit(1);
        }
        answered += (size_t)got;
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
}

static void answer_read(const union arguments *arguments)
{
    const char *name;
    int folder = parent_open(&parent, arguments->unpack_read.path.s.data, &name);
    autoclose fd = folder < 0 ? -1 : openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        put_error(errno);
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
        put_error(errno);
        return;
    }
    ssize_t length = S_ISLNK(entry.st_mode) ? readlinkat(folder, name, target, sizeof(target)) : 0;
    if (length < 0) {
        put_error(errno);
        return;
    }
    struct __attribute__((packed)) {
        uint32_t error, mode, uid, gid;
        uint64_t size;
        int64_t mtime;
        uint32_t nanoseconds, length;
    } reply = { 0, entry.st_mode, entry.st_uid, entry.st_gid, (uint64_t)entry.st_size, entry.st_mtim.tv_sec, (uint32_t)entry.st_mtim.tv_nsec,
            (uint32_t)length };
    put(&reply, sizeof(reply));
    put(target, (size_t)length);
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
            flush(); /* the other side may wait for these answers before it asks again */
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
