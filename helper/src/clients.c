/* The clients of a container: the one that started it and those that attached later. */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>
#include <fcntl.h>
#include <poll.h>

#include "base.h"
#include "input.h"
#include "monitor.h"

void clients_open(struct monitor *monitor)
{
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        monitor->clients[i] = (struct client_state){.fd = -1};
    monitor->clients[0].fd = monitor->run->client;
    monitor->clients[0].received = monitor->run->shared->input.taken;
}

/* The socket's folder is its owner's alone; the check is for folders that are not. */
static bool is_owner(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

void clients_accept(struct monitor *monitor)
{
    int fd = accept4(monitor->run->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    for (unsigned i = 1; i < MAX_CLIENTS && is_owner(fd); i++) {
        if (monitor->clients[i].fd < 0) {
            monitor->clients[i] = (struct client_state){.fd = fd};
            channel_tell(fd, MESSAGE_STARTED, 0);
            return;
        }
    }
    close(fd);
}

/* The terminal of a client that was killed is left as it was before, for its shell. */
static void restore_terminal(struct run *run)
{
    if (run->terminal >= 0) {
        tcsetattr(run->terminal, TCSANOW, &run->terminal_before); /* a drain could wait for ever */
        close(run->terminal);
        run->terminal = -1;
    }
}

static void client_drop(struct monitor *monitor, unsigned index)
{
    struct client_state *client = &monitor->clients[index];

    if (client->fd < 0)
        return;
    close(client->fd);
    client->fd = -1;
    for (unsigned i = 0; i < 2; i++)
        monitor->streams[i].waiting &= ~(1u << index);
    if (index == 0) {
        monitor->run->client = -1;
        monitor->run->shared->input.ended |= monitor->run->attached; /* of `run -di` standard input stays open */
        if (!client->known)
            restore_terminal(monitor->run);
        close_fd(&monitor->run->terminal);
    }
}

/* True when all of the message was taken. */
static bool take_input(struct monitor *monitor, unsigned index, const struct message *message, const char *data, size_t size)
{
    struct run *run = monitor->run;
    struct client_state *client = &monitor->clients[index];
    size_t done = client->received > message->offset ? (size_t)(client->received - message->offset) : 0;

    if (done < size && run->input >= 0 && !run->shared->input.ended)
        done += input_stage(run, data + done, size - done, message->offset + done, index == 0);
    else
        done = size;
    client->received = message->offset + done;
    client->stalled = done < size;
    return !client->stalled;
}

static void obey(struct monitor *monitor, unsigned index, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_INPUT_END:
        if (index == 0)
            monitor->run->shared->input.ended = true;
        break;
    case MESSAGE_SIGNAL:
        monitor_signal(monitor, (int)message->number);
        break;
    case MESSAGE_SIZE:
        monitor_resize(monitor, message->number);
        break;
    case MESSAGE_LEAVE:
        monitor->clients[index].known = true;
        break;
    case MESSAGE_BROKEN:
        if (message->stream == 1 || message->stream == 2)
            monitor_close_output(monitor, message->stream - 1u);
        break;
    default:
        break;
    }
}

void client_read(struct monitor *monitor, unsigned index)
{
    static char data[INPUT_WINDOW];
    struct message message;
    int fd = monitor->clients[index].fd;
    /* First looked at, then consumed: what a killed monitor had in its hands is there for the next one. */
    ssize_t size = channel_receive(fd, &message, data, sizeof data, NULL, MSG_PEEK | MSG_DONTWAIT);

    if (size < 0) {
        if (errno != EAGAIN)
            client_drop(monitor, index);
        return;
    }
    if (message.type == MESSAGE_INPUT && !take_input(monitor, index, &message, data, (size_t)size))
        return;
    channel_receive(fd, &message, NULL, 0, NULL, MSG_DONTWAIT);
    if (message.type != MESSAGE_INPUT)
        obey(monitor, index, &message);
}

void clients_acknowledge(struct monitor *monitor)
{
    uint64_t level = (uint64_t)input_level(monitor->run);

    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        struct client_state *client = &monitor->clients[i];
        uint64_t accepted = client->received > level ? client->received - level : 0;
        if (client->fd < 0 || accepted <= client->acknowledged)
            continue;
        struct message message = {.type = MESSAGE_ACCEPTED, .offset = accepted};
        if (channel_send(client->fd, &message, NULL, 0, NULL, MSG_DONTWAIT) == 0)
            client->acknowledged = accepted;
    }
}

void clients_deliver(struct monitor *monitor, struct stream *stream)
{
    struct message message = {.type = MESSAGE_OUTPUT, .stream = stream->number, .offset = stream->progress->base};

    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        struct client_state *client = &monitor->clients[i];
        if ((stream->waiting >> i & 1) == 0)
            continue;
        if (channel_send(client->fd, &message, stream->data, stream->held, NULL, MSG_DONTWAIT) == 0) {
            stream->waiting &= ~(1u << i);
            client->blocked &= ~(1u << stream->number);
        } else if (errno == EAGAIN || errno == ENOBUFS) {
            client->blocked |= 1u << stream->number;
        } else { /* gone; but what it said last (MESSAGE_BROKEN) may still be unread */
            stream->waiting &= ~(1u << i);
            client->blocked = 0;
        }
    }
}

void clients_tell(struct monitor *monitor, const struct message *message, const void *data, size_t size)
{
    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        int fd = monitor->clients[i].fd;
        if (fd < 0)
            continue;
        /* Only the client that started the container is worth waiting for: its exit status hangs on it. */
        channel_send(fd, message, data, size, NULL, i == 0 ? 0 : MSG_DONTWAIT);
    }
}
