/* The clients of a container: the one that started it and those that attached later. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "input.h"
#include "monitor.h"

/* Of the sockets to later clients (SO_SNDBUF, socket(7)): what they have to read is bounded, and room is left for the last word. */
enum { CLIENT_BUFFER = 65536, LAST_BUFFER = 212992 };

static void set_buffer(int fd, int size)
{
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/* The socket's folder is its owner's alone; the check is for folders that are not. */
static bool is_owner(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

/* The keeper holds the connection too, for a monitor that takes this one's place. */
static bool tell_keeper(const struct run *run, unsigned index)
{
    struct message message = {.type = MESSAGE_CLIENT, .number = index};
    struct descriptors descriptors = {.fds = {run->clients[index]}, .count = 1};

    return run->keeper < 0 || channel_send(run->keeper, &message, NULL, 0, &descriptors, MSG_DONTWAIT) == 0;
}

static bool admit(struct monitor *monitor, int fd)
{
    struct run *run = monitor->run;
    struct message full = {.type = MESSAGE_FAILED};
    static const char record[] = "launch monitor 0 has as many clients as it takes\n";

    for (unsigned i = 1; i < MAX_CLIENTS; i++) {
        if (run->clients[i] >= 0)
            continue;
        monitor->clients[i] = (struct client_state){0};
        run->shared->input.taken[i] = 0;
        run->clients[i] = fd;
        set_buffer(fd, CLIENT_BUFFER);
        if (tell_keeper(run, i)) {
            channel_tell(fd, MESSAGE_STARTED, CLIENT_PROTOCOL);
            return true;
        }
        run->clients[i] = -1;
        return false;
    }
    channel_send(fd, &full, record, sizeof record - 1, NULL, MSG_DONTWAIT);
    return false;
}

void clients_accept(struct monitor *monitor)
{
    int fd;

    while ((fd = accept4(monitor->run->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        if (!is_owner(fd) || !admit(monitor, fd))
            close(fd);
}

/* The terminal of a client that was killed is left as it was before, for its shell. */
static void restore_terminal(struct run *run)
{
    if (run->terminal >= 0)
        tcsetattr(run->terminal, TCSANOW, &run->terminal_before); /* a drain could wait for ever */
}

/* Docker's StdinOnce: the input of a client that sends some is the program's input, up to its end. */
static bool ends_input(const struct run *run, unsigned index)
{
    bool sends = run->shared->input.taken[index] > 0 || (index == 0 && run->attached);
    return run->input_kind == INPUT_ONCE && run->kind == STREAMS_PIPES && sends;
}

static void client_drop(struct monitor *monitor, unsigned index)
{
    struct run *run = monitor->run;

    run->shared->input.ended |= ends_input(run, index);
    shutdown(run->clients[index], SHUT_RDWR); /* the keeper has the connection as well */
    close_fd(&run->clients[index]);
    for (unsigned i = 0; i < 2; i++)
        monitor->streams[i].waiting &= ~(1u << index);
    if (index == 0 && !monitor->clients[0].left)
        restore_terminal(run);
    if (index == 0)
        close_fd(&run->terminal);
    channel_tell(run->keeper, MESSAGE_CLIENT_GONE, index);
}

/* True when all of the message was taken. */
static bool take_input(struct monitor *monitor, unsigned index, const struct message *message, const char *data, size_t size)
{
    struct run *run = monitor->run;
    struct input_progress *input = &run->shared->input;
    uint64_t taken = input->taken[index];
    size_t done = taken > message->offset ? (size_t)(taken - message->offset) : 0;

    if (done < size && run->input >= 0 && !input->ended) {
        done += input_stage(run, index, data + done, size - done, message->offset + done);
    } else {
        done = size;
        input->taken[index] = message->offset + size;
    }
    monitor->clients[index].stalled = done < size;
    return done >= size;
}

static void obey(struct monitor *monitor, unsigned index, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_INPUT_END:
        monitor->run->shared->input.ended |= monitor->run->input_kind == INPUT_ONCE && monitor->run->kind == STREAMS_PIPES;
        break;
    case MESSAGE_SIGNAL:
        relay_signal(monitor, message->number);
        break;
    case MESSAGE_SIZE:
        relay_size(monitor, message->number);
        break;
    case MESSAGE_LEAVE:
        monitor->clients[index].left = true;
        if (message->number == LEFT_BY_KEYS)
            events_detached(monitor->run);
        break;
    case MESSAGE_BROKEN:
        if (message->stream == 1 || message->stream == 2)
            relay_close_output(monitor, message->stream - 1u);
        break;
    default:
        break;
    }
}

void client_read(struct monitor *monitor, unsigned index, bool hung_up)
{
    static char data[INPUT_WINDOW];
    struct message message;
    int fd = monitor->run->clients[index];
    /* First looked at, then consumed: what a killed monitor had in its hands is there for the next one. */
    ssize_t size = channel_receive(fd, &message, data, sizeof data, NULL, MSG_PEEK | MSG_DONTWAIT);

    if (size < 0) {
        if (errno != EAGAIN)
            client_drop(monitor, index);
        return;
    }
    if (message.type == MESSAGE_INPUT && !take_input(monitor, index, &message, data, (size_t)size)) {
        if (hung_up)
            client_drop(monitor, index);
        return;
    }
    channel_receive(fd, &message, NULL, 0, NULL, MSG_DONTWAIT);
    if (message.type != MESSAGE_INPUT)
        obey(monitor, index, &message);
}

/* A send that finds no room is tried again when there is some. False when the client is gone. */
static bool send_or_wait(struct monitor *monitor, unsigned index, uint32_t bit, const struct message *message, const void *data, size_t size)
{
    struct client_state *client = &monitor->clients[index];

    if (channel_send(monitor->run->clients[index], message, data, size, NULL, MSG_DONTWAIT) == 0) {
        client->blocked &= ~(1u << bit);
        client->blocked_since = 0;
        return true;
    }
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
        client->blocked = 0;
        return false;
    }
    client->blocked |= 1u << bit;
    if (client->blocked_since == 0)
        client->blocked_since = clock_ns(CLOCK_MONOTONIC);
    return true;
}

void clients_acknowledge(struct monitor *monitor)
{
    const struct run *run = monitor->run;
    uint64_t level = (uint64_t)input_level(run);

    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        struct client_state *client = &monitor->clients[i];
        uint64_t taken = run->shared->input.taken[i], accepted = taken > level ? taken - level : 0;
        if (run->clients[i] < 0 || accepted <= client->acknowledged)
            continue;
        struct message message = {.type = MESSAGE_ACCEPTED, .offset = accepted};
        if (send_or_wait(monitor, i, 0, &message, NULL, 0) && (client->blocked & 1u) == 0)
            client->acknowledged = accepted;
    }
}

void clients_deliver(struct monitor *monitor, struct stream *stream)
{
    struct message message = {.type = MESSAGE_OUTPUT, .stream = stream->number, .offset = stream->progress->base};

    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        if ((stream->waiting >> i & 1) == 0)
            continue;
        bool there = send_or_wait(monitor, i, stream->number, &message, stream->data, stream->held);
        /* One that is gone is dropped when it was read to its end: what it said last (MESSAGE_BROKEN) may be unread. */
        if (!there || (monitor->clients[i].blocked >> stream->number & 1) == 0)
            stream->waiting &= ~(1u << i);
    }
}

int clients_drop_stalled(struct monitor *monitor)
{
    uint64_t now = 0, left = UINT64_MAX;

    for (unsigned i = 1; i < MAX_CLIENTS; i++) { /* the first may hold the program up as a pipe does */
        const struct client_state *client = &monitor->clients[i];
        if (monitor->run->clients[i] < 0 || client->blocked_since == 0)
            continue;
        now = now != 0 ? now : clock_ns(CLOCK_MONOTONIC);
        uint64_t waited = now - client->blocked_since;
        if (waited < PATIENCE_NS) {
            left = PATIENCE_NS - waited < left ? PATIENCE_NS - waited : left;
            continue;
        }
        set_buffer(monitor->run->clients[i], LAST_BUFFER);
        struct message message = {.type = MESSAGE_DROPPED};
        channel_send(monitor->run->clients[i], &message, NULL, 0, NULL, MSG_DONTWAIT);
        client_drop(monitor, i);
        left = 0; /* what waited for it goes on at once */
    }
    return left == UINT64_MAX ? -1 : (int)((left + 999999) / 1000000);
}

void clients_make_room(struct monitor *monitor)
{
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        if (monitor->run->clients[i] >= 0)
            set_buffer(monitor->run->clients[i], LAST_BUFFER);
}

void clients_tell(struct monitor *monitor, const struct message *message, const void *data, size_t size)
{
    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        int fd = monitor->run->clients[i];
        /* Only the client that started the container is worth waiting for, and only for how it ended. */
        if (fd >= 0)
            channel_send(fd, message, data, size, NULL, i == 0 && message->type != MESSAGE_STARTED ? 0 : MSG_DONTWAIT);
    }
}
