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
#include "keys.h"
#include "run.h"
#include "sys.h"
#include "terminal.h"

static struct {
    int connection;
    int stop_signal;
    bool raw, wants_input, started;
    struct keys keys;
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

/* Rows and columns, as MESSAGE_SIZE has them; `more` is added to both. False without a terminal. */
static bool send_size(unsigned more)
{
    struct winsize size;

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return false;
    channel_tell(client.connection, MESSAGE_SIZE, (uint32_t)((size.ws_row + more) & 0xffff) << 16 | ((size.ws_col + more) & 0xffff));
    return true;
}

static void pass_size(int number)
{
    int saved = errno;

    (void)number;
    send_size(0);
    errno = saved;
}

/* Without a monitor that would do it for a client that was killed, as it does for the first one's. */
static void restore_and_die(int number)
{
    terminal_restore(STDIN_FILENO, &client.before);
    channel_tell(client.connection, MESSAGE_LEAVE, LEFT);
    signal(number, SIG_DFL);
    raise(number);
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
    static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    for (size_t i = 0; i < ARRAY_SIZE(deadly) && client.raw && !run->signal_proxy; i++)
        handle(deadly[i], restore_and_die);
    if (run->attached)
        handle(SIGWINCH, run->kind == STREAMS_TERMINAL ? pass_size : run->signal_proxy ? pass_signal : SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void restore(void)
{
    if (client.raw)
        terminal_restore(STDIN_FILENO, &client.before);
    client.raw = false;
}

static _Noreturn void leave(int status)
{
    restore();
    channel_tell(client.connection, MESSAGE_LEAVE, LEFT);
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
    restore();
    channel_tell(client.connection, MESSAGE_LEAVE, LEFT);
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

static _Noreturn void cannot_write(uint8_t stream, int error)
{
    if (error == EPIPE)
        leave_by_signal();
    restore();
    dprintf(STDERR_FILENO, "estiba: cannot write %s: write error: %s\n", stream == 2 ? "standard error" : "standard output",
            strerror(error));
    leave(1);
}

static void write_output(const struct run *run, const struct message *message, const char *data, size_t size)
{
    uint64_t *seen = &client.seen[message->stream];
    size_t known = *seen > message->offset ? (size_t)(*seen - message->offset) : 0;

    if (known >= size || (run->muted & message->stream))
        return;
    *seen = message->offset + size;
    if (write_stream(message->stream == 2 ? STDERR_FILENO : STDOUT_FILENO, data + known, size - known) == 0)
        return;
    int error = errno;
    struct message broken = {.type = MESSAGE_BROKEN, .stream = message->stream};
    channel_send(client.connection, &broken, NULL, 0, NULL, 0);
    cannot_write(message->stream, error);
}

static void announce(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_ANNOUNCE);
    char line[256];
    int size = op == NULL ? 0 : snprintf(line, sizeof line, "%.250s\n", op->args.announce.text.s.data);

    if (write_stream(STDOUT_FILENO, line, (size_t)size) != 0)
        cannot_write(1, errno);
}

static _Noreturn void launch_failed(const struct run *run, const char *record, size_t size)
{
    restore();
    if (run->report >= 0)
        (void)!write_all(run->report, record, size);
    else
        print_record(STDERR_FILENO, record);
    leave(record_status(record));
}

/* By the detach keys; the words are Docker's. */
static _Noreturn void detached(void)
{
    restore();
    dprintf(STDERR_FILENO, "read escape sequence\n");
    channel_tell(client.connection, MESSAGE_LEAVE, LEFT_BY_KEYS);
    _exit(0);
}

static _Noreturn void dropped(void)
{
    restore();
    dprintf(STDERR_FILENO, "estiba: cannot go on with the container's output: it was not read for too long\n"
                           "hint: the container runs on; \"estiba logs\" shows what it wrote\n");
    leave(1);
}

/* The monitor and the keeper are both gone: what became of the program cannot be known here. */
static _Noreturn void connection_lost(void)
{
    restore();
    dprintf(STDERR_FILENO, "estiba: cannot learn how the container ended: its monitor and its keeper were killed\n"
                           "hint: the container may still run; \"estiba ps\" shows it\n");
    _exit(record_status("launch"));
}

/* A program that drew the terminal for another client draws it again when its size changes, and only then. */
static void begin(const struct run *run)
{
    trace("started");
    if (run->kind == STREAMS_TERMINAL && plan_find(run->plan, OP_CONNECT) != NULL && !client.started)
        send_size(1);
    send_size(0); /* it may have changed since the plan was made */
    client.started = true;
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
        if (!run->attached) {
            announce(run);
            leave(0);
        }
        begin(run);
        break;
    case MESSAGE_OUTPUT:
        if (message.stream == 1 || message.stream == 2)
            write_output(run, &message, data, (size_t)size);
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
    case MESSAGE_DROPPED:
        dropped();
    default:
        break;
    }
}

static void send_input(const char *data, size_t size)
{
    struct message message = {.type = MESSAGE_INPUT, .offset = client.sent};

    if (size == 0)
        return;
    client.sent += size;
    channel_send(client.connection, &message, data, size, NULL, 0);
}

/* Bytes that may be sent before more of them reached the program. */
static size_t input_room(void)
{
    uint64_t ahead = client.sent - client.accepted + client.keys.count;
    return ahead < INPUT_WINDOW ? INPUT_WINDOW - (size_t)ahead : 0;
}

static void take_input(void)
{
    static char data[INPUT_WINDOW], typed[INPUT_WINDOW + MAX_DETACH_KEYS];
    bool detach;
    ssize_t size = read(STDIN_FILENO, data, input_room());

    if (size < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (size <= 0) {
        client.wants_input = false;
        send_input(client.keys.held, client.keys.count);
        channel_tell(client.connection, MESSAGE_INPUT_END, 0);
        return;
    }
    send_input(typed, keys_filter(&client.keys, data, (size_t)size, typed, &detach));
    if (detach)
        detached();
}

int client_main(struct run *run, int connection)
{
    client.connection = connection;
    client.stop_signal = (int)run->stop_signal;
    client.wants_input = run->attached && run->input_kind != INPUT_NONE;
    prctl(PR_SET_NAME, "estiba");
    if (client.wants_input && run->kind == STREAMS_TERMINAL) {
        const struct op *keys = plan_find(run->plan, OP_DETACH_KEYS);
        if (keys != NULL)
            client.keys = (struct keys){.sequence = keys->args.detach_keys.keys.b.data, .size = keys->args.detach_keys.keys.b.size};
        client.raw = terminal_raw(STDIN_FILENO, &client.before);
    }
    close_fd(&run->terminal); /* the monitor's */
    take_signals(run);
    close_fd(&run->status); /* the lock is the keeper's and the monitor's */
    close_fd(&run->listener);
    for (;;) {
        bool input = client.wants_input && input_room() > 0;
        struct pollfd fds[2] = {{.fd = connection, .events = POLLIN}, {.fd = input ? STDIN_FILENO : -1, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents != 0)
            receive(run);
        if (fds[1].revents != 0)
            take_input();
    }
}
