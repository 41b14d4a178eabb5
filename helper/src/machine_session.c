#define _GNU_SOURCE
#include "machine_session.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

void session_open(struct session *self, uint32_t number, const int streams[3])
{
    char *data[2] = {self->outputs[0].data, self->outputs[1].data};

    *self = (struct session){.number = number, .input = streams[0]};
    for (unsigned i = 0; i < 2; i++) {
        self->outputs[i].fd = streams[i + 1];
        self->outputs[i].data = data[i] != NULL ? data[i] : allocate(OUTPUT_WINDOW);
    }
    for (unsigned i = 0; i < 3; i++)
        if (streams[i] >= 0 && fcntl(streams[i], F_SETFL, fcntl(streams[i], F_GETFL) | O_NONBLOCK) != 0)
            fail(LAUNCH, "streams", errno, NULL, "of the guest");
}

bool session_send_plan(const struct session *self, struct link *link, const char *plan, size_t size, size_t *sent, bool first_part)
{
    size_t room;

    while (*sent < size && (room = link_room(link)) > 1) {
        size_t part = size - *sent, most = room - 1 < MAX_DATA ? room - 1 : MAX_DATA;
        struct message message = {.type = MESSAGE_PLAN, .stream = first_part, .number = (uint32_t)size, .offset = *sent};
        part = part < most ? part : most;
        link_put(link, self->number, &message, plan + *sent, part);
        *sent += part;
    }
    return *sent == size;
}

static bool take_output(struct session *self, const struct message *message, const char *data, size_t size)
{
    struct sink *sink = &self->outputs[message->stream - 1];

    if (sink->from > 0) {
        memmove(sink->data, sink->data + sink->from, sink->to - sink->from);
        sink->to -= sink->from;
        sink->from = 0;
    }
    if (message->offset != sink->taken + sink->to || size > OUTPUT_WINDOW - sink->to)
        return false;
    memcpy(sink->data + sink->to, data, size);
    sink->to += size;
    return true;
}

bool session_hear(struct session *self, const struct frame *frame, const char *data)
{
    const struct message *message = &frame->message;

    switch (message->type) {
    case MESSAGE_STARTED:
        if (self->phase == LAUNCHING)
            self->phase = STARTED;
        return true;
    case MESSAGE_OUTPUT:
        return (message->stream == 1 || message->stream == 2) && take_output(self, message, data, frame->size);
    case MESSAGE_ACCEPTED:
        if (message->offset > self->sent || message->offset < self->accepted) /* what was taken cannot be given back */
            return false;
        self->accepted = message->offset;
        return true;
    case MESSAGE_EXITED:
        self->exit_code = (int)(message->number & 0xff);
        self->phase = EXITED;
        return true;
    default:
        return false;
    }
}

static bool wants_input(const struct session *self, const struct link *link)
{
    return self->input >= 0 && self->phase == STARTED && self->sent - self->accepted < INPUT_WINDOW && !link_is_blocked(link);
}

void session_watch(const struct session *self, const struct link *link, struct pollfd fds[SESSION_POLLED])
{
    fds[0] = (struct pollfd){.fd = wants_input(self, link) ? self->input : -1, .events = POLLIN};
    for (unsigned i = 0; i < 2; i++) {
        const struct sink *sink = &self->outputs[i];
        fds[i + 1] = (struct pollfd){.fd = sink->to > sink->from ? sink->fd : -1, .events = POLLOUT};
    }
}

static void read_input(struct session *self, struct link *link)
{
    static char data[INPUT_WINDOW];
    struct message message = {.type = MESSAGE_INPUT, .offset = self->sent};
    uint64_t window = INPUT_WINDOW - (self->sent - self->accepted);
    size_t room = link_room(link);

    if (room > window)
        room = (size_t)window;
    if (room <= 1)
        return;
    ssize_t size = read(self->input, data, room - 1);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) {
        self->input = -1;
        self->input_ended = true;
        return;
    }
    self->sent += (uint64_t)size;
    link_put(link, self->number, &message, data, (size_t)size);
}

/* What nobody can read any more: the program in the guest shall learn it as any program does. */
static void break_sink(struct session *self, struct link *link, unsigned index)
{
    struct message message = {.type = MESSAGE_BROKEN, .stream = (uint8_t)(index + 1)};

    self->outputs[index].fd = -1;
    link_put(link, self->number, &message, NULL, 0);
}

static void write_output(struct session *self, struct link *link, unsigned index)
{
    struct sink *sink = &self->outputs[index];
    ssize_t size = (ssize_t)(sink->to - sink->from);

    if (size > 0 && sink->fd >= 0)
        size = write(sink->fd, sink->data + sink->from, (size_t)size);
    if (size < 0 && errno != EAGAIN && errno != EINTR) {
        break_sink(self, link, index);
        size = (ssize_t)(sink->to - sink->from);
    }
    if (size > 0) {
        sink->from += (size_t)size;
        sink->taken += (uint64_t)size;
    }
}

static void acknowledge(struct session *self, struct link *link, unsigned index)
{
    struct sink *sink = &self->outputs[index];
    struct message message = {.type = MESSAGE_ACCEPTED, .stream = (uint8_t)(index + 1), .offset = sink->taken};

    /* Not for every line: half a window is early enough to keep the guest writing. */
    if (sink->taken - sink->acknowledged >= OUTPUT_WINDOW / 2 && link_put(link, self->number, &message, NULL, 0))
        sink->acknowledged = sink->taken;
}

void session_move(struct session *self, struct link *link, const struct pollfd fds[SESSION_POLLED])
{
    if (fds[0].fd >= 0 && fds[0].revents != 0)
        read_input(self, link);
    if (self->input_ended && link_tell(link, self->number, MESSAGE_INPUT_END, 0))
        self->input_ended = false;
    for (unsigned i = 0; i < 2; i++) {
        write_output(self, link, i);
        acknowledge(self, link, i);
    }
}

bool session_is_over(const struct session *self)
{
    if (self->phase != EXITED)
        return false;
    for (unsigned i = 0; i < 2; i++)
        if (self->outputs[i].to > self->outputs[i].from)
            return false;
    return true;
}
