/*
 * QEMU's control protocol (QMP, docs/interop/qmp-spec.rst), as much as saving a guest's state takes: a migration into a descriptor
 * (docs/devel/migration.rst), behind which the guest goes on where it stands. That it cannot be saved is no failure: it starts as well.
 */
#define _GNU_SOURCE
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

void park_begin(int monitor, int file)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof file)];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof file), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec data = {.iov_base = (void *)(uintptr_t)commands, .iov_len = sizeof commands - 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};

    memcpy(CMSG_DATA(&control.head), &file, sizeof file);
    if (sendmsg(monitor, &message, MSG_NOSIGNAL) != (ssize_t)data.iov_len)
        fail(LAUNCH, "machine", errno, NULL, "its monitor's control socket");
}

static char text[8192]; /* what it has said; all of it takes a tenth */
static size_t size;
static bool saved;

static void go_on(int monitor)
{
    static const char command[] = "{\"execute\":\"cont\"}";

    size = 0;
    (void)!send(monitor, command, sizeof command - 1, MSG_NOSIGNAL); /* when it is gone the channel says so as well */
}

bool park_goes_on(int monitor, int file)
{
    ssize_t n = read(monitor, text + size, sizeof text - 1 - size);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0)
        return true;
    size += (size_t)n;
    text[size] = '\0';
    if (strstr(text, "\"RESUME\"") != NULL) {
        if (saved && write_all(file, PARK_MARK, sizeof PARK_MARK - 1) != 0)
            (void)!ftruncate(file, 0);
        return true;
    }
    if (strstr(text, "\"completed\"") != NULL) {
        saved = true;
        go_on(monitor);
    } else if (strstr(text, "\"error\"") != NULL || strstr(text, "\"failed\"") != NULL || size == sizeof text - 1) {
        usleep(1000); /* it says that all is saved a moment before it would go on */
        go_on(monitor);
    }
    return false;
}
