/*
 * QEMU's control protocol (QMP, docs/interop/qmp-spec.rst), as much as saving a guest's state takes: a migration into a descriptor
 * (docs/devel/migration.rst), behind which the guest goes on where it stands. That it cannot be saved is no failure: it starts as well.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "machine_park.h"

/* Without a limit of bytes in a second, which is there for networks. It is not stopped before: one that was would wake stopped. */
static const char commands[] = "{\"execute\":\"qmp_capabilities\"}"
                               "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
                               "{\"capability\":\"events\",\"state\":true}]}}"
                               "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":1000000000000}}"
                               "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"park\"}}"
                               "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:park\"}}";

static struct {
    int file, disk_copy;
    const char *disk;
    bool saved;
} parked;

void park_begin(int monitor, int file, const char *disk, int disk_copy)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof file)];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof file), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec data = {.iov_base = (void *)(uintptr_t)commands, .iov_len = sizeof commands - 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};

    parked.file = file;
    parked.disk = disk;
    parked.disk_copy = disk_copy;
    memcpy(CMSG_DATA(&control.head), &file, sizeof file);
    if (sendmsg(monitor, &message, MSG_NOSIGNAL) != (ssize_t)data.iov_len)
        fail(LAUNCH, "machine", errno, NULL, "its monitor's control socket");
}

static char text[8192]; /* what it has said; all of it takes a tenth */
static size_t size;

static void go_on(int monitor)
{
    static const char command[] = "{\"execute\":\"cont\"}";

    size = 0;
    (void)!send(monitor, command, sizeof command - 1, MSG_NOSIGNAL); /* when it is gone the channel says so as well */
}

/* What a sparse file holds, and its size (lseek(2), SEEK_DATA). */
static bool copy_sparse(int source, int target)
{
    off_t last = lseek(source, 0, SEEK_END), end = 0;

    if (last < 0 || ftruncate(target, last) != 0)
        return false;
    while (end < last) {
        off_t begin = lseek(source, end, SEEK_DATA), to;
        if (begin < 0)
            return errno == ENXIO; /* nothing but a hole up to the end */
        if ((end = lseek(source, begin, SEEK_HOLE)) < 0)
            return false;
        for (to = begin; begin < end;)
            if (copy_file_range(source, &begin, target, &to, (size_t)(end - begin), 0) <= 0)
                return false;
    }
    return true;
}

/* As it is at the moment of the state: what the guest has not written yet is there. */
static bool copy_disk(void)
{
    if (parked.disk_copy < 0)
        return true;
    autoclose disk = open(parked.disk, O_RDONLY | O_CLOEXEC);
    return disk >= 0 && copy_sparse(disk, parked.disk_copy);
}

bool park_goes_on(int monitor)
{
    ssize_t n = read(monitor, text + size, sizeof text - 1 - size);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0)
        return true;
    size += (size_t)n;
    text[size] = '\0';
    if (strstr(text, "\"RESUME\"") != NULL) {
        if (parked.saved && write_all(parked.file, PARK_MARK, sizeof PARK_MARK - 1) != 0)
            (void)!ftruncate(parked.file, 0);
        return true;
    }
    if (strstr(text, "\"completed\"") != NULL) {
        parked.saved = copy_disk();
        go_on(monitor);
    } else if (strstr(text, "\"error\"") != NULL || strstr(text, "\"failed\"") != NULL || size == sizeof text - 1) {
        usleep(1000); /* it says that all is saved a moment before it would go on */
        go_on(monitor);
    }
    return false;
}
