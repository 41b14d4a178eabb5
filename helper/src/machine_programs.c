#define _GNU_SOURCE
#include "machine_programs.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

enum { CONNECTION, PLAN, OUTPUT, ERROR, INPUT, MAX_BROUGHT };

static struct program {
    struct session session;
    bool used, ends;        /* `ends`: nobody waits for it any more, and it is still to be killed */
    int connection;         /* -1 when who asked for it is gone */
    int streams[3];
    char *plan;             /* until all of it is sent */
    size_t plan_size, plan_sent;
} programs[MAX_SESSIONS]; /* the first is the container's own program (machine.c) */

static int mailbox = -1;

void programs_open(void)
{
    mailbox = channel_mailbox(PROGRAMS_PATH);
    if (mailbox < 0)
        fail(LAUNCH, "machine", errno, NULL, "its mailbox");
}

static void close_all(struct descriptors *descriptors)
{
    for (size_t i = 0; i < descriptors->count; i++)
        close_fd(&descriptors->fds[i]);
}

/* To a process that always reads: one that does not is none of estiba's, and is not waited for. */
static void tell(int connection, unsigned type, uint32_t number, const char *data, size_t size)
{
    struct message message = {.type = (uint8_t)type, .number = number};

    if (connection >= 0)
        channel_send(connection, &message, data, size, NULL, MSG_DONTWAIT);
}

static struct program *free_program(void)
{
    for (unsigned i = 1; i < MAX_SESSIONS; i++)
        if (!programs[i].used)
            return &programs[i];
    return NULL;
}

static char *read_plan(int fd, size_t *size)
{
    struct stat status;

    if (fstat(fd, &status) != 0 || status.st_size <= 0 || status.st_size > MAX_PLAN)
        return NULL;
    *size = (size_t)status.st_size;
    char *plan = malloc(*size);
    if (plan != NULL && (lseek(fd, 0, SEEK_SET) != 0 || read_all(fd, plan, *size) != status.st_size)) {
        free(plan);
        return NULL;
    }
    return plan;
}

static void begin(struct program *self, struct descriptors *brought)
{
    int *fds = brought->fds;

    self->used = true;
    self->ends = false;
    self->plan_sent = 0;
    self->connection = keep_fd(&fds[CONNECTION]);
    self->streams[0] = brought->count > INPUT ? keep_fd(&fds[INPUT]) : -1;
    self->streams[1] = keep_fd(&fds[OUTPUT]);
    self->streams[2] = keep_fd(&fds[ERROR]);
    session_open(&self->session, (uint32_t)(self - programs), self->streams);
}

static void take_mail(void)
{
    static const char full[] = "launch machine 0 runs as many programs as it can\twait until one has ended\n";
    static struct descriptors brought;
    struct message message;

    brought.count = 0;
    bool arrived = channel_receive(mailbox, &message, NULL, 0, &brought, MSG_DONTWAIT) >= 0;
    bool whole = arrived && message.type == MESSAGE_PROGRAM && brought.count >= INPUT && brought.count <= MAX_BROUGHT;
    struct program *self = free_program();
    if (whole && self == NULL)
        tell(brought.fds[CONNECTION], MESSAGE_FAILED, 0, full, sizeof full - 1);
    else if (whole && (self->plan = read_plan(brought.fds[PLAN], &self->plan_size)) != NULL)
        begin(self, &brought);
    close_all(&brought);
}

/* --- what the guest says --- */

static void finish(struct program *self)
{
    for (unsigned i = 0; i < 3; i++)
        close_fd(&self->streams[i]);
    close_fd(&self->connection);
    free(self->plan);
    self->plan = NULL;
    self->used = false;
}

bool programs_hear(const struct frame *frame, const char *data)
{
    struct program *self = &programs[frame->session];
    bool launching = self->session.phase == LAUNCHING;

    if (!self->used)
        return false;
    if (frame->message.type == MESSAGE_FAILED && launching) {
        tell(self->connection, MESSAGE_FAILED, 0, data, frame->size);
        finish(self);
        return true;
    }
    if (!session_hear(&self->session, frame, data))
        return false;
    if (launching && self->session.phase != LAUNCHING)
        tell(self->connection, MESSAGE_STARTED, 0, NULL, 0);
    return true;
}

/* --- who asked for it --- */

/* The process that stands for the program was killed: so is the program, and what it writes until then goes nowhere. */
static void lose(struct program *self)
{
    close_fd(&self->connection);
    self->ends = true;
    self->session.input = self->session.outputs[0].fd = self->session.outputs[1].fd = -1;
    for (unsigned i = 0; i < 3; i++)
        close_fd(&self->streams[i]);
}

static void hear_asker(struct program *self, struct link *link)
{
    struct message message;

    if (channel_receive(self->connection, &message, NULL, 0, NULL, MSG_DONTWAIT) < 0) {
        if (errno != EAGAIN)
            lose(self);
    } else if (message.type == MESSAGE_SIGNAL || message.type == MESSAGE_SIZE) {
        link_tell(link, self->session.number, message.type, message.number);
    }
}

void programs_watch(const struct link *link, struct pollfd fds[PROGRAMS_POLLED])
{
    *fds++ = (struct pollfd){.fd = mailbox, .events = POLLIN};
    for (unsigned i = 1; i < MAX_SESSIONS; i++) {
        const struct program *self = &programs[i];
        fds[0] = (struct pollfd){.fd = self->used ? self->connection : -1, .events = POLLIN};
        for (unsigned j = 0; j < SESSION_POLLED; j++)
            fds[1 + j].fd = -1;
        if (self->used)
            session_watch(&self->session, link, fds + 1);
        fds += 1 + SESSION_POLLED;
    }
}

static void move(struct program *self, struct link *link, const struct pollfd *fds)
{
    if (self->connection >= 0 && fds[0].revents != 0)
        hear_asker(self, link);
    if (self->plan != NULL && session_send_plan(&self->session, link, self->plan, self->plan_size, &self->plan_sent, false)) {
        free(self->plan);
        self->plan = NULL;
    }
    session_move(&self->session, link, fds + 1);
    if (self->ends && self->session.phase == STARTED && link_tell(link, self->session.number, MESSAGE_SIGNAL, SIGKILL))
        self->ends = false;
    if (!session_is_over(&self->session))
        return;
    tell(self->connection, MESSAGE_EXITED, (uint32_t)self->session.exit_code, NULL, 0);
    finish(self);
}

void programs_move(struct link *link, const struct pollfd fds[PROGRAMS_POLLED])
{
    if (fds[0].revents != 0)
        take_mail(); /* first: its plan is sent at once, and no event would tell of it */
    for (unsigned i = 1; i < MAX_SESSIONS; i++)
        if (programs[i].used)
            move(&programs[i], link, fds + 1 + (i - 1) * (1 + SESSION_POLLED));
}
