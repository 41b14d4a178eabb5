/* One program of a guest: its plan arrives, a keeper carries it out, its streams become frames. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base.h"
#include "guest.h"
#include "sys.h"

enum { GUEST_SIDES = 1 << SIDE_GUEST | 1 << SIDE_HOST | 1 << SIDE_CONTAINER };

void guest_session_reset(struct guest_session *self, uint32_t number)
{
    memset(self, 0, offsetof(struct guest_session, data));
    self->number = number;
    self->keeper = self->rest = self->program = self->input = self->outputs[0] = self->outputs[1] = -1;
}

/* --- its plan --- */

static int to_guest = -1; /* of the process that prepares a plan */
static int first_program = -1; /* pidfd of the container's own */

static void report_to_guest(const char *record, size_t size)
{
    struct message message = {.type = MESSAGE_FAILED};
    channel_send(to_guest, &message, record, size, NULL, 0);
}

static _Noreturn void carry_out(const char *data, size_t size, int connection, int rest)
{
    static struct plan plan;
    struct run run;

    to_guest = connection;
    set_failure_sink(report_to_guest);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    if (close_all_but((int[]){connection, first_program, rest}, 3) != 0)
        fail(LAUNCH, "close_range", errno, NULL, "of the guest's descriptors");
    plan_decode(&plan, data, size, GUEST_SIDES);
    guest_prepare(&plan, first_program);
    guest_serve(&plan, connection);
    plan_check_run(&plan);
    run_read(&run, &plan);
    run.monitor = connection;
    run.rest = rest;
    keeper_main(&run);
}

void guest_session_start(struct guest_session *self, char *plan, size_t size, bool first_part)
{
    int ends[2], rest[2] = {-1, -1};
    char there;

    channel_pair(ends);
    if (first_part && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, rest) != 0)
        fail(LAUNCH, "machine", errno, NULL, "the way of a plan's second part");
    pid_t pid = fork();
    if (pid < 0)
        fail(LAUNCH, "fork", errno, NULL, "the keeper");
    if (pid == 0)
        carry_out(plan, size, ends[1], rest[1]);
    close(ends[1]);
    close_fd(&rest[1]);
    self->keeper = ends[0];
    self->rest = rest[0];
    free(plan);
    if (first_part && read_all(self->rest, &there, 1) != 1)
        close_fd(&self->rest); /* it failed, which its keeper will say */
}

/* The second part goes on as it comes, behind its size. */
static void give_rest(struct guest_session *self, const struct frame *frame, const char *data)
{
    uint32_t size = frame->message.number;

    /* Who does not read it has failed, which its keeper will say. */
    if (self->plan_received == 0)
        (void)write_all(self->rest, &size, sizeof size);
    (void)write_all(self->rest, data, frame->size);
    self->plan_received += frame->size;
    if (self->plan_received == size)
        close_fd(&self->rest);
}

/* `stream` 1 says that a second part follows. True when a program waits for that now. */
static bool take_plan(struct guest_session *self, const struct frame *frame, const char *data)
{
    const struct message *message = &frame->message;

    if ((self->keeper >= 0 && self->rest < 0) || message->number > MAX_PLAN || message->offset != self->plan_received ||
        frame->size > message->number - message->offset)
        fail(LAUNCH, "machine", 0, NULL, "a plan that arrives out of order");
    if (self->rest >= 0) {
        give_rest(self, frame, data);
        return false;
    }
    if (self->plan == NULL) {
        guest_session_reset(self, self->number);
        self->plan_size = message->number;
        self->plan = allocate(self->plan_size);
    }
    memcpy(self->plan + self->plan_received, data, frame->size);
    self->plan_received += frame->size;
    if (self->plan_received < self->plan_size)
        return false;
    char *plan = self->plan;
    self->plan = NULL;
    self->plan_received = 0;
    guest_session_start(self, plan, self->plan_size, message->stream == 1);
    return self->rest >= 0;
}

/* --- what the host says --- */

static void take_input(struct guest_session *self, const char *data, size_t size)
{
    if (self->from > 0) {
        memmove(self->data, self->data + self->from, self->to - self->from);
        self->to -= self->from;
        self->from = 0;
    }
    if (size > sizeof self->data - self->to)
        fail(LAUNCH, "machine", 0, NULL, "more input than the window has room for");
    self->received += size;
    if (self->input < 0)
        return;
    memcpy(self->data + self->to, data, size);
    self->to += size;
}

static void close_output(struct guest_session *self, unsigned stream)
{
    struct message message = {.type = MESSAGE_OUTPUT_CLOSED, .stream = (uint8_t)stream};

    close_fd(&self->outputs[stream - 1]);
    channel_send(self->keeper, &message, NULL, 0, NULL, MSG_DONTWAIT);
}

static void resize(const struct guest_session *self, uint32_t size)
{
    struct winsize new_size = {.ws_row = (unsigned short)(size >> 16), .ws_col = (unsigned short)size};

    if (self->terminal)
        ioctl(self->outputs[0], TIOCSWINSZ, &new_size);
}

bool guest_session_hear(struct guest_session *self, const struct frame *frame, const char *data)
{
    const struct message *message = &frame->message;
    bool of_stream = message->stream == 1 || message->stream == 2;

    if (message->type == MESSAGE_PLAN)
        return take_plan(self, frame, data);
    if (self->keeper < 0)
        return false; /* it ended, and the host does not know yet */
    if (message->type == MESSAGE_INPUT)
        take_input(self, data, frame->size);
    else if (message->type == MESSAGE_INPUT_END)
        self->input_ended = true;
    else if (message->type == MESSAGE_SIGNAL && self->phase == STARTED)
        sys_pidfd_send_signal(self->program, (int)message->number);
    else if (message->type == MESSAGE_SIZE)
        resize(self, message->number);
    else if (message->type == MESSAGE_BROKEN && of_stream)
        close_output(self, message->stream);
    else if (message->type == MESSAGE_ACCEPTED && of_stream)
        self->accepted[message->stream - 1] = message->offset;
    return false;
}

/* --- what the keeper says --- */

/* As run.c's take_streams(): none, the terminal's master, or output, error and perhaps input. The last is the program's pidfd. */
static void take_ends(struct guest_session *self, struct descriptors *descriptors)
{
    if (descriptors->count == 0)
        return;
    self->program = descriptors->fds[--descriptors->count];
    if (self->number == 0)
        first_program = self->program;
    self->terminal = descriptors->count == 1;
    if (descriptors->count > 0)
        self->outputs[0] = descriptors->fds[0];
    if (self->terminal)
        self->input = self->outputs[0];
    if (descriptors->count > 1)
        self->outputs[1] = descriptors->fds[1];
    if (descriptors->count > 2)
        self->input = descriptors->fds[2];
}

static void let_go(struct guest_session *self)
{
    channel_tell(self->keeper, MESSAGE_REPORTED, 0);
    if (self->number == 0)
        first_program = -1;
    close_fd(&self->program);
    if (!self->terminal)
        close_fd(&self->input);
    close_fd(&self->outputs[0]);
    close_fd(&self->outputs[1]);
    close_fd(&self->rest);
    close_fd(&self->keeper);
}

static void hear_keeper(struct guest_session *self, struct link *link)
{
    static struct descriptors descriptors;
    static char data[MAX_RECORD];
    struct message message, failed = {.type = MESSAGE_FAILED};
    ssize_t size = channel_receive(self->keeper, &message, data, sizeof data, &descriptors, 0);

    if (size < 0) {
        static const char lost[] = "launch keeper 0 it was killed\n";
        link_put(link, self->number, &failed, lost, sizeof lost - 1);
        self->phase = FAILED;
        let_go(self);
        return;
    }
    switch (message.type) {
    case MESSAGE_STREAMS:
        take_ends(self, &descriptors);
        break;
    case MESSAGE_STARTED:
        for (size_t i = 0; i < descriptors.count; i++)
            close(descriptors.fds[i]); /* the user namespace: there is nothing to remove in it here */
        self->phase = STARTED;
        link_tell(link, self->number, MESSAGE_STARTED, 0);
        break;
    case MESSAGE_FAILED:
        self->phase = FAILED;
        link_put(link, self->number, &failed, data, (size_t)size);
        let_go(self);
        break;
    case MESSAGE_EXITED:
        self->phase = EXITED;
        self->exit_code = (int)message.number;
        self->exit_signal = (int)message.offset;
        break;
    default:
        break;
    }
}

/* --- its streams --- */

static size_t output_room(const struct guest_session *self, const struct link *link, unsigned index)
{
    uint64_t ahead = self->sent[index] - self->accepted[index];

    return ahead >= OUTPUT_WINDOW || link_is_blocked(link) ? 0 : (size_t)(OUTPUT_WINDOW - ahead);
}

/* How much of its streams still waits to be moved decides what is watched. */
void guest_session_watch(const struct guest_session *self, const struct link *link, struct pollfd fds[GUEST_POLLED])
{
    bool has_input = self->to > self->from;

    fds[0] = (struct pollfd){.fd = self->keeper, .events = POLLIN};
    for (unsigned i = 0; i < 2; i++)
        fds[i + 1] = (struct pollfd){.fd = output_room(self, link, i) > 0 ? self->outputs[i] : -1, .events = POLLIN};
    fds[3] = (struct pollfd){.fd = has_input ? self->input : -1, .events = POLLOUT};
}

static void read_output(struct guest_session *self, struct link *link, unsigned index)
{
    static char data[MAX_DATA];
    struct message message = {.type = MESSAGE_OUTPUT, .stream = (uint8_t)(index + 1), .offset = self->sent[index]};
    size_t room = output_room(self, link, index), space = link_room(link);

    if (self->outputs[index] < 0 || room == 0 || space <= 1)
        return;
    if (room > sizeof data)
        room = sizeof data;
    if (room > space - 1)
        room = space - 1;
    ssize_t n = read(self->outputs[index], data, room);
    if (n > 0) {
        self->sent[index] += (uint64_t)n;
        link_put(link, self->number, &message, data, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR) || self->phase == EXITED) {
        if (self->terminal)
            self->input = -1;
        close_fd(&self->outputs[index]); /* its end, or nothing more of a program that ended while others hold the pipe */
    }
}

static void write_input(struct guest_session *self)
{
    ssize_t n = self->to > self->from ? write(self->input, self->data + self->from, self->to - self->from) : 0;

    if (n > 0)
        self->from += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        self->from = self->to; /* the program reads no more */
}

static void end_input(struct guest_session *self)
{
    if (self->terminal || self->input < 0)
        return;
    close_fd(&self->input);
    channel_tell(self->keeper, MESSAGE_INPUT_CLOSED, 0);
}

static void acknowledge(struct guest_session *self, struct link *link)
{
    uint64_t written = self->received - (self->to - self->from);
    struct message message = {.type = MESSAGE_ACCEPTED, .offset = written};

    if (written > self->acknowledged && link_put(link, self->number, &message, NULL, 0))
        self->acknowledged = written;
}

static bool is_drained(const struct guest_session *self)
{
    return self->outputs[0] < 0 && self->outputs[1] < 0;
}

void guest_session_move(struct guest_session *self, struct link *link, const struct pollfd fds[GUEST_POLLED])
{
    struct message exited = {.type = MESSAGE_EXITED};

    if (self->keeper < 0)
        return;
    if (fds[0].revents != 0)
        hear_keeper(self, link);
    if (self->keeper < 0)
        return; /* it has failed: the session may be another program's by now */
    for (unsigned i = 0; i < 2; i++)
        if (fds[i + 1].revents != 0 || self->phase == EXITED)
            read_output(self, link, i);
    if (fds[3].revents != 0)
        write_input(self);
    if (self->input_ended && self->to == self->from)
        end_input(self);
    acknowledge(self, link);
    exited.number = (uint32_t)self->exit_code;
    exited.offset = (uint64_t)self->exit_signal;
    if (self->phase == EXITED && is_drained(self) && link_put(link, self->number, &exited, NULL, 0))
        let_go(self);
}
