#define _GNU_SOURCE
#include "channel.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"

union control {
    char data[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
    struct cmsghdr align;
};

void channel_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        fail(LAUNCH, "socketpair", errno, NULL, "of estiba-init");
}

typedef int socket_call(int fd, const struct sockaddr *address, socklen_t size);

/* In the directory itself, so that no path is followed and sun_path's 108 bytes suffice. */
static int call_in(int directory, const char *name, socket_call *call, int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(name) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, name);
    if (fchdir(directory) != 0)
        return -1;
    int result = call(fd, (struct sockaddr *)&address, sizeof address);
    int error = errno;
    if (chdir("/") != 0) /* no process of the helper needs the caller's folder */
        return -1;
    errno = error;
    return result;
}

int channel_listen(int directory, const char *name)
{
    autoclose fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    unlinkat(directory, name, 0);
    mode_t mask = umask(0177);
    int result = call_in(directory, name, bind, fd);
    umask(mask);
    return result != 0 || listen(fd, 16) != 0 ? -1 : keep_fd(&fd);
}

int channel_connect(int directory, const char *name)
{
    autoclose fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    return fd < 0 || call_in(directory, name, connect, fd) != 0 ? -1 : keep_fd(&fd);
}

static int call_at(const char *path, socket_call *call, int flags)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autoclose fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0);

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return fd < 0 || call(fd, (struct sockaddr *)&address, sizeof address) != 0 ? -1 : keep_fd(&fd);
}

int channel_mailbox(const char *path)
{
    return call_at(path, bind, SOCK_NONBLOCK);
}

int channel_mail(const char *path)
{
    return call_at(path, connect, 0);
}

int channel_send(int fd, const struct message *message, const void *data, size_t size, const struct descriptors *descriptors,
                 int flags)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)message, sizeof *message}, {(void *)(uintptr_t)data, size}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = size > 0 ? 2 : 1};
    union control control;
    ssize_t n;

    if (descriptors != NULL && descriptors->count > 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.data;
        header.msg_controllen = CMSG_SPACE(descriptors->count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(descriptors->count * sizeof(int));
        memcpy(CMSG_DATA(rights), descriptors->fds, descriptors->count * sizeof(int));
    }
    do
        n = sendmsg(fd, &header, flags | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -1 : 0;
}

static void take_descriptors(struct msghdr *header, struct descriptors *descriptors)
{
    descriptors->count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        descriptors->count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(descriptors->fds, CMSG_DATA(part), descriptors->count * sizeof(int));
    }
}

ssize_t channel_receive(int fd, struct message *message, void *data, size_t size, struct descriptors *descriptors, int flags)
{
    struct iovec parts[2] = {{message, sizeof *message}, {data, size}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = size > 0 ? 2 : 1};
    union control control;
    ssize_t n;

    if (descriptors != NULL) {
        header.msg_control = control.data;
        header.msg_controllen = sizeof control.data;
    }
    /* ECONNRESET comes once, when the other side went with something unread, and before what it sent last. */
    do
        n = recvmsg(fd, &header, flags | MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return -1;
    if (descriptors != NULL)
        take_descriptors(&header, descriptors);
    if (n < (ssize_t)sizeof *message) {
        errno = n == 0 ? 0 : EPROTO;
        return -1;
    }
    return n - (ssize_t)sizeof *message;
}

int channel_tell(int fd, enum message_type type, uint32_t number)
{
    struct message message = {.type = (uint8_t)type, .number = number};
    return channel_send(fd, &message, NULL, 0, NULL, 0);
}
