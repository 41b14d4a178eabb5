/*
 * The calling process as the container's first client: copies its streams over the connection, passes signals and the
 * terminal's size on, and exits as the program did. Signal handlers send by themselves, so that a client that is blocked in
 * writing its own output still passes an interrupt on.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base.h"
#include "channel.h"
#include "run.h"
#include "sys.h"
#include "terminal.h"

static struct {
    int connection;
    int stop_signal;
    bool raw, wants_input;
    struct termios before;
    uint64_t sent, accepted; /* bytes of input */
    uint64_t seen[3];        /* bytes of each output stream: what a restarted monitor sends again is known */
} client;

static void pass_signal(int number)
{
    int saved = errno;

    channel_tell(client.connection, MESSAGE_SIGNAL, (uint32_t)(number == SIGTERM && client.stop_signal ? client.stop_signal : number));
    errno = saved;
}

static void pass_size(int number)
{
    struct winsize size;
    int saved = errno;

    (void)number;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        channel_tell(client.connection, MESSAGE_SIZE, (uint32_t)size.ws_row << 16 | size.ws_col);
    errno = saved;
}

/* A signal that the caller had ignored (nohup(1), a shell's background job) stays ignored. */
static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, before;

    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

/* As docker(1)'s --sig-proxy: what a user sends to `run` is meant for the program. */
static void take_signals(const struct run *run)
{
    static const int passed[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGTSTP, SIGIO, SIGPWR};
    sigset_t none;

    handle(SIGPIPE, SIG_IGN);
    if (run->attached && run->signal_proxy) {
        for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
            handle(passed[i], pass_signal);
        for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
            handle(number, pass_signal);
    }
    if (run->attached)
        handle(SIGWINCH, run->kind == STREAMS_TERMINAL ? pass_size : run->signal_proxy ? pass_signal : SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void leave(int status)
{
    if (client.raw)
        terminal_restore(STDIN_FILENO, &client.before);
    channel_tell(client.connection, MESSAGE_LEAVE, 0);
    _exit(status);
}

/* As write_all, also for a stream that another program made non-blocking. */
static int write_stream(int fd, const char *data, size_t size)
{
    while (size > 0) {
        struct pollfd writable = {.fd = fd, .events = POLLOUT};
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EAGAIN)
            poll(&writable, 1, -1);
        else if (n < 0 && errno != EINTR)
            return -1;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* A reader that has enough (`run ... | head -1`) is no failure to talk about: as any filter the client ends by SIGPIPE. */
static void leave_by_signal(void)
{
    if (client.raw)
        terminal_restore(STDIN_FILENO, &client.before);
    channel_tell(client.connection, MESSAGE_LEAVE, 0);
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

static void write_output(const struct message *message, const char *data, size_t size)
{
    uint64_t *seen = &client.seen[message->stream];
    size_t known = *seen > message->offset ? (size_t)(*seen - message->offset) : 0;

    if (known >= size)
        return;
    *seen = message->offset + size;
    if (write_stream(message->stream == 2 ? STDERR_FILENO : STDOUT_FILENO, data + known, size - known) == 0)
        return;
    int error = errno;
    struct message broken = {.type = MESSAGE_BROKEN, .stream = message->stream};
    channel_send(client.connection, &broken, NULL, 0, NULL, 0);
    if (error == EPIPE)
        leave_by_signal();
    if (client.raw)
        terminal_restore(STDIN_FILENO, &client.before);
    client.raw = false;
    dprintf(STDERR_FILENO, "estiba: cannot write %s: write error: %s\n",
            message->stream == 2 ? "standard error" : "standard output", strerror(error));
    leave(1);
}

static _Noreturn void launch_failed(const struct run *run, const char *record, size_t size)
{
    if (client.raw)
        terminal_restore(STDIN_FILENO, &client.before);
    client.raw = false;
    if (run->report >= 0)
        (void)!write_all(run->report, record, size);
    else
        print_record(STDERR_FILENO, record);
    leave(record_status(record));
}

/* The monitor and the keeper are both gone: what became of the program cannot be known here. */
static _Noreturn void connection_lost(void)
{
    if (client.raw)
        terminal_restore(STDIN_FILENO, &client.before);
    dprintf(STDERR_FILENO, "estiba: cannot learn how the container ended: its monitor and its keeper were killed\n"
                           "hint: the container may still run; \"estiba ps\" shows it\n");
    _exit(EXIT_LAUNCH);
}

static void receive(const struct run *run)
{
    static char data[MAX_DATA + 1];
    struct message message;
    ssize_t size = channel_receive(client.connection, &message, data, MAX_DATA, NULL, 0);

    if (size < 0)
        connection_lost();
    switch (message.type) {
    case MESSAGE_STARTED:
        if (!run->attached)
            leave(0);
        trace("started");
        pass_size(SIGWINCH); /* it may have changed since the plan was made */
        break;
    case MESSAGE_OUTPUT:
        if (message.stream == 1 || message.stream == 2)
            write_output(&message, data, (size_t)size);
        break;
    case MESSAGE_FAILED:
        data[size] = '\0';
        launch_failed(run, data, (size_t)size);
    case MESSAGE_EXITED:
        trace("exited");
        leave((int)message.number);
    case MESSAGE_ACCEPTED:
        client.accepted = message.offset;
        break;
    default:
        break;
    }
}

static void send_input(void)
{
    static char data[INPUT_WINDOW];
    uint64_t room = INPUT_WINDOW - (client.sent - client.accepted);
    ssize_t size = read(STDIN_FILENO, data, room < sizeof data ? (size_t)room : sizeof data);

    if (size < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (size <= 0) {
        client.wants_input = false;
        channel_tell(client.connection, MESSAGE_INPUT_END, 0);
        return;
    }
    struct message message = {.type = MESSAGE_INPUT, .offset = client.sent};
    client.sent += (uint64_t)size;
    channel_send(client.connection, &message, data, (size_t)size, NULL, 0);
}

int client_main(struct run *run, int connection)
{
    client.connection = connection;
    client.stop_signal = (int)run->stop_signal;
    client.wants_input = run->attached && run->wants_input;
    prctl(PR_SET_NAME, "estiba");
    if (run->terminal >= 0) {
        client.raw = terminal_raw(STDIN_FILENO, &client.before);
        close(run->terminal);
    }
    take_signals(run);
    if (run->status >= 0) /* the lock is the keeper's and the monitor's */
        close(run->status);
    if (run->listener >= 0)
        close(run->listener);
    for (;;) {
        bool input = client.wants_input && client.sent - client.accepted < INPUT_WINDOW;
        struct pollfd fds[2] = {{.fd = connection, .events = POLLIN}, {.fd = input ? STDIN_FILENO : -1, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents != 0)
            receive(run);
        if (fds[1].revents != 0)
            send_input();
    }
}
