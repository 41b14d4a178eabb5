/*
 * What `exec` runs in the jail of a machine: a process that has the streams of a program in the guest and stands for it. It hands streams and
 * plan to the jail's PID 1 (machine_programs.c), passes on the signals that it gets and the terminal's size, and ends with the program's
 * status. When it is killed, so is the program.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "container.h"
#include "machine_programs.h"
#include "terminal.h"

enum { KILLED = 128 + SIGKILL };

static const char ended_hint[] = "the container may have ended";

/* The connection for what comes after. */
static int ask(const struct container *self, const char *plan, size_t size)
{
    int ends[2];
    autoclose file = memfd_create("estiba-plan", MFD_CLOEXEC);
    autoclose mail = channel_mail(PROGRAMS_PATH);
    struct message message = {.type = MESSAGE_PROGRAM};
    struct descriptors brought = {.count = 4 + (self->run->input_kind != INPUT_NONE)};

    channel_pair(ends);
    if (mail < 0)
        fail(LAUNCH, "machine", errno, ended_hint, "its mailbox");
    if (file < 0 || write_all(file, plan, size) != 0)
        fail(LAUNCH, "machine", errno, NULL, "the program's plan");
    const int fds[] = {ends[1], file, STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        brought.fds[i] = fds[i];
    if (channel_send(mail, &message, NULL, 0, &brought, 0) != 0)
        fail(LAUNCH, "machine", errno, ended_hint, "its mailbox");
    close(ends[1]);
    return ends[0];
}

static void tell_size(int connection)
{
    struct winsize size;

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
        channel_tell(connection, MESSAGE_SIZE, (uint32_t)size.ws_row << 16 | size.ws_col);
}

static void pass_signals(int signals, int connection, bool terminal)
{
    struct signalfd_siginfo info;

    while (read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGWINCH && terminal)
            tell_size(connection);
        else
            channel_tell(connection, MESSAGE_SIGNAL, info.ssi_signo);
    }
}

/* To the keeper, for which it is the execution of the program. */
static void report_start(struct container *self, int connection)
{
    struct message message = {.type = MESSAGE_EXECUTE};

    prctl(PR_SET_PDEATHSIG, 0);
    channel_send(self->keeper, &message, NULL, 0, NULL, 0);
    close_fd(&self->keeper);
    if (self->terminal)
        tell_size(connection);
}

static void hear(struct container *self, int connection)
{
    char data[MAX_RECORD];
    struct message message;
    ssize_t size = channel_receive(connection, &message, data, sizeof data, NULL, 0);

    if (size < 0 && self->keeper >= 0)
        fail(LAUNCH, "machine", 0, ended_hint, "did not take the program");
    if (size < 0)
        _exit(KILLED);
    if (message.type == MESSAGE_STARTED)
        report_start(self, connection);
    else if (message.type == MESSAGE_FAILED)
        fail_as(data, (size_t)size);
    else if (message.type == MESSAGE_EXITED)
        _exit((int)message.number);
}

void op_machine_execute(struct container *self, const struct op *op)
{
    struct termios before;
    sigset_t all;

    place_streams(self);
    prctl(PR_SET_NAME, "estiba-exec");
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    int signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        fail(LAUNCH, "machine", errno, NULL, "the program's signals");
    if (self->terminal)
        terminal_raw(STDIN_FILENO, &before); /* the guest's is the one with a line discipline */
    int connection = ask(self, op->args.machine_execute.plan.b.data, op->args.machine_execute.plan.b.size);
    uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + (uint64_t)op->args.machine_execute.seconds.u * 1000000000u;
    for (;;) {
        bool started = self->keeper < 0;
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (!started && now >= deadline)
            fail(LAUNCH, "machine", 0, NULL, "does not answer");
        struct pollfd fds[2] = {{.fd = connection, .events = POLLIN}, {.fd = started ? signals : -1, .events = POLLIN}};
        if (poll(fds, 2, started ? -1 : (int)((deadline - now) / 1000000) + 1) < 0)
            continue;
        if (fds[1].revents != 0)
            pass_signals(signals, connection, self->terminal);
        if (fds[0].revents != 0)
            hear(self, connection);
    }
}
