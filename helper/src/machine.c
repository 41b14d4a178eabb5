/*
 * The host's end of a guest: PID 1 of the machine monitor's namespaces. It starts the monitor (User-Mode Linux, QEMU), waits for the
 * guest, hands it its plan, and is for keeper and monitor what the program itself would be: it has the program's streams, takes the
 * signals that are meant for the program, and ends with its status. When it ends, so does every process of its PID namespace.
 *
 * The guest is a stranger: what it sends is bounded and checked (link.c, machine_session.c), and all that this process may do here is
 * what the jail allows.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "container.h"
#include "initramfs.h"
#include "machine_park.h"
#include "machine_programs.h"
#include "terminal.h"

enum {
    CHANNEL = 3,
    TAIL = 2048,
    PIECES = 65536 / TAIL, /* that a pipe holds (pipe(7)) */
    FRAMES = 64,           /* that are heard before anybody else is, so that a guest cannot talk without end */
};

static struct machine {
    struct container *container;
    struct link link;
    struct session session;
    int signals, console;
    pid_t monitor;       /* 0 when it ended */
    bool ready, synced;
    bool talks;          /* more frames may be here, of which poll(2) says nothing */
    uint64_t pending;    /* signals (a bit each) that came before the program started */
    uint64_t deadline;   /* CLOCK_MONOTONIC, while the guest has yet to answer */
    uint64_t patience;   /* nanoseconds */
    const struct op *op;
    int file, control;   /* of a guest that is parked or woken, else -1; QEMU's control socket while it is parked */
    int disk_copy;       /* of a guest that is parked, where its disk goes, else -1 */
    bool begun, parking, woken;
    const union value *sending; /* the plan, or the first part of it, that goes over the channel */
    size_t sent;
    char tail[TAIL];     /* what its kernel said last */
    size_t tail_size;
} machine;

static bool has_initramfs(void)
{
    return machine.op->args.machine.initramfs.s.size > 0;
}

static bool plan_goes_by_channel(void)
{
    return machine.op->args.machine.park.u != NO_SLOT || !has_initramfs();
}

static bool read_console(void)
{
    char data[TAIL];
    ssize_t n = read(machine.console, data, sizeof data);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&machine.console);
    if (n <= 0)
        return false;
    size_t kept = machine.tail_size + (size_t)n > TAIL ? TAIL - (size_t)n : machine.tail_size;
    memmove(machine.tail, machine.tail + machine.tail_size - kept, kept);
    memcpy(machine.tail + kept, data, (size_t)n);
    machine.tail_size = kept + (size_t)n;
    return true;
}

/* The line that says why a kernel stopped, or its last one, without the time before it. */
static const char *last_words(void)
{
    static char line[TAIL + 1];
    char *found = NULL;

    for (unsigned i = 0; machine.monitor == 0 && i < PIECES && read_console(); i++) /* others may hold its console, and write on */
        ;
    memcpy(line, machine.tail, machine.tail_size);
    line[machine.tail_size] = '\0';
    for (char *next = strtok(line, "\r\n"); next != NULL; next = strtok(NULL, "\r\n")) {
        bool stop = strstr(next, "anic") != NULL;
        found = next;
        if (stop)
            break;
    }
    if (found != NULL)
        sanitize(found);
    char *text = found != NULL && found[0] == '[' ? strstr(found, "] ") : NULL;
    return text != NULL ? text + 2 : found != NULL ? found : "it said nothing";
}

static const char hint[] = "\"estiba doctor\" says which machines work here";

static _Noreturn void end(int status)
{
    fflush(NULL);
    _exit(status); /* PID 1: the kernel ends the monitor's processes */
}

/* The guest is lost. Before the program ran that is a failure to launch; afterwards the program's streams are all there is. */
static _Noreturn void lose_guest(const char *what)
{
    if (machine.session.phase == LAUNCHING)
        fail(LAUNCH, "machine", 0, hint, "%s: %s", what, last_words());
    dprintf(STDERR_FILENO, "estiba: the machine ended before its program: %s: %s\n", what, last_words());
    end(EXIT_LAUNCH);
}

static _Noreturn void run_monitor(const struct op *op, int channel, int console, int extra)
{
    char **arguments = list_vector(&op->args.machine.arguments, 0), **environment = list_vector(&op->args.machine.environment, 0);
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    personality(op->args.machine.personality.u);
    setsid(); /* what the terminal says is for the program */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(null, 0) == 0 && dup2(console, 1) == 1 && dup2(console, 2) == 2 && dup2(channel, CHANNEL) == CHANNEL &&
        dup2(channel, CHANNEL + 1) == CHANNEL + 1 &&
        (extra < 0 || dup2(extra, CHANNEL + 2) == CHANNEL + 2))
        execve(arguments[0], arguments, environment);
    dprintf(STDERR_FILENO, "%s: %s\n", arguments[0], strerror(errno));
    _exit(EXIT_CANNOT_EXECUTE);
}

/* A guest's kernel, its programs and this process take turns. Were each on a processor of its own, one would have to wake up each time. */
static void stay_on_one_processor(void)
{
    cpu_set_t here;
    int number = sched_getcpu();

    CPU_ZERO(&here);
    if (number < 0 || number >= CPU_SETSIZE)
        return;
    CPU_SET((unsigned)number, &here);
    sched_setaffinity(0, sizeof here, &here);
}

static void start_monitor(const struct op *op)
{
    int channel[2], console[2], control[2] = {-1, -1}, extra = machine.file;
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0 || pipe2(console, O_CLOEXEC) != 0 ||
        (machine.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        fail(LAUNCH, "machine", errno, NULL, "its channel");
    if (machine.file >= 0 && has_initramfs()) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, control) != 0)
            fail(LAUNCH, "machine", errno, NULL, "its control socket");
        machine.control = control[0];
        extra = control[1];
    }
    if (op->args.machine.one_processor.u)
        stay_on_one_processor();
    machine.monitor = fork();
    if (machine.monitor < 0)
        fail(LAUNCH, "machine", errno, NULL, "its process");
    if (machine.monitor == 0) {
        int inner = fcntl(channel[1], F_DUPFD_CLOEXEC, CHANNEL + 3), output = fcntl(console[1], F_DUPFD_CLOEXEC, CHANNEL + 3);
        run_monitor(op, inner, output, extra < 0 ? -1 : fcntl(extra, F_DUPFD_CLOEXEC, CHANNEL + 3));
    }
    close(channel[1]);
    close(console[1]);
    close_fd(&control[1]);
    machine.link.fd = channel[0];
    machine.console = console[0];
    if (fcntl(channel[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(console[0], F_SETFL, O_NONBLOCK) != 0)
        fail(LAUNCH, "machine", errno, NULL, "its channel");
}

/* The disk by which a guest of User-Mode Linux gets frames of some size (link.h). */
static void make_blocks(void)
{
    machine.link.blocks = open(BLOCKS_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (machine.link.blocks < 0 || ftruncate(machine.link.blocks, BLOCKS * BLOCK_SIZE) != 0)
        fail(LAUNCH, "machine", errno, NULL, "%s", BLOCKS_FILE);
}

/* The terminal of the keeper's side carries bytes; the guest's is the one with a line discipline. */
static void open_session(void)
{
    struct container *container = machine.container;
    struct termios before;
    int streams[3] = {container->run->input_kind != INPUT_NONE ? STDIN_FILENO : -1, STDOUT_FILENO, STDERR_FILENO};

    if (container->terminal)
        terminal_raw(STDIN_FILENO, &before);
    session_open(&machine.session, 0, streams); /* its plan is in the initramfs */
}

static void tell_size(void)
{
    struct winsize size;

    if (machine.container->terminal && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
        link_tell(&machine.link, 0, MESSAGE_SIZE, (uint32_t)size.ws_row << 16 | size.ws_col);
}

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == machine.monitor)
            machine.monitor = 0;
}

static void take_signals(void)
{
    struct signalfd_siginfo info;

    while (read(machine.signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap();
        else if (info.ssi_signo == SIGPIPE && info.ssi_pid == (uint32_t)getpid())
            continue; /* of this process's own writing to a stream that nobody reads any more */
        else if (info.ssi_signo == SIGWINCH && machine.container->terminal)
            tell_size();
        else if (machine.session.phase == STARTED) /* the power button: SIGKILL would reach this process, and nothing be written */
            link_tell(&machine.link, 0, MESSAGE_SIGNAL, info.ssi_signo == SIGPWR ? SIGKILL : info.ssi_signo);
        else
            machine.pending |= UINT64_C(1) << (info.ssi_signo - 1);
    }
}

static void send_plan(const union value *plan)
{
    machine.sending = plan;
    machine.sent = 0;
}

/* The keeper takes the end of the connection as the execution of the program. */
static void report_start(void)
{
    struct message message = {.type = MESSAGE_EXECUTE};

    prctl(PR_SET_PDEATHSIG, 0);
    channel_send(machine.container->keeper, &message, NULL, 0, NULL, 0);
    trace("execute");
    close_fd(&machine.container->keeper);
    machine.deadline = 0;
    tell_size();
    for (unsigned number = 1; number <= 64; number++)
        if (machine.pending >> (number - 1) & 1)
            link_tell(&machine.link, 0, MESSAGE_SIGNAL, number);
}

/* Nothing is waited for: the guest takes what comes in this order. Both ends count the channel's bytes anew from here on. */
static void wake(void)
{
    char entropy[ENTROPY];
    struct message message = {.type = MESSAGE_WAKE, .offset = clock_ns(CLOCK_REALTIME)};

    if (getrandom(entropy, sizeof entropy, 0) != (ssize_t)sizeof entropy)
        fail(LAUNCH, "machine", errno, NULL, "random numbers for the guest");
    machine.link.sent = machine.link.credit = 0;
    link_put(&machine.link, 0, &message, entropy, sizeof entropy);
    tell_size();
    send_plan(&machine.op->args.machine.plan);
    machine.woken = true;
}

static void greet(const struct message *message)
{
    const union value *beginning = &machine.op->args.machine.beginning;

    if (message->number != PROTOCOL_VERSION)
        fail(LAUNCH, "machine", 0, NULL, "the guest speaks version %u of the protocol, not %d", message->number, PROTOCOL_VERSION);
    trace("guest");
    machine.link.window = message->offset;
    machine.link.uses_blocks = message->stream == 1;
    machine.deadline = clock_ns(CLOCK_MONOTONIC) + machine.patience;
    if (machine.control >= 0 && beginning->b.size > 0 && !machine.begun) {
        machine.begun = true;
        send_plan(beginning);
    } else if (machine.control >= 0 && !machine.parking) {
        machine.parking = true; /* once it goes on it is woken as one that begins there */
        park_begin(machine.control, machine.file, machine.op->args.machine.disk.s.data, machine.disk_copy);
    } else if (plan_goes_by_channel() && !machine.woken) {
        wake();
    } else {
        machine.ready = true;
    }
}

static void hear(const struct frame *frame, const char *data)
{
    bool launching = machine.session.phase == LAUNCHING;

    if (frame->message.type == MESSAGE_READY && !machine.ready)
        greet(&frame->message);
    else if (frame->message.type == MESSAGE_SYNCED)
        machine.synced = true;
    else if (frame->message.type == MESSAGE_READ && frame->message.offset <= machine.link.sent && frame->message.offset >= machine.link.credit)
        machine.link.credit = frame->message.offset;
    else if (frame->message.type == MESSAGE_FAILED && frame->session == 0 && launching)
        fail_as(data, frame->size);
    else if (!machine.ready || !(frame->session > 0 ? programs_hear(frame, data) : session_hear(&machine.session, frame, data)))
        lose_guest("it sent what makes no sense");
    if (launching && machine.session.phase != LAUNCHING)
        report_start();
}

static void hear_guest(void)
{
    struct frame frame;
    char *data;
    int found = 1;

    for (unsigned i = 0; i < FRAMES && (found = link_take(&machine.link, &frame, &data)) > 0; i++)
        hear(&frame, data);
    machine.talks = found > 0;
    if (found >= 0)
        return;
    bool nonsense = errno == EPROTO;
    reap();
    if (machine.session.phase != EXITED)
        lose_guest(nonsense ? "it sent what makes no sense" : "its kernel ended");
    close_fd(&machine.link.fd); /* what its program wrote last is here already */
    machine.synced = true;
}

static int time_left(void)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    if (machine.deadline == 0)
        return -1;
    if (now >= machine.deadline && machine.session.phase == EXITED)
        machine.synced = true; /* its program's status is known; a machine that hangs is ended as by a power cut */
    else if (now >= machine.deadline)
        lose_guest(machine.ready ? "it did not start the program in time" : "it does not answer");
    if (now >= machine.deadline)
        return 0;
    return (int)((machine.deadline - now) / 1000000) + 1;
}

enum { SESSION = 4, PROGRAMS = SESSION + SESSION_POLLED };

static void turn(void)
{
    struct pollfd fds[PROGRAMS + PROGRAMS_POLLED] = {
        {.fd = machine.link.fd, .events = link_events(&machine.link)},
        {.fd = machine.signals, .events = POLLIN},
        {.fd = machine.console, .events = POLLIN},
        {.fd = machine.parking ? machine.control : -1, .events = POLLIN},
    };

    session_watch(&machine.session, &machine.link, fds + SESSION);
    programs_watch(&machine.link, fds + PROGRAMS);
    int wait = time_left();
    if (poll(fds, ARRAY_SIZE(fds), machine.talks ? 0 : wait) < 0)
        return;
    if (fds[2].revents != 0)
        read_console();
    if (fds[3].revents != 0 && park_goes_on(machine.control)) {
        close_fd(&machine.control);
        close_fd(&machine.disk_copy);
        close_fd(&machine.file); /* other guests begin there: nothing that this one does may reach it */
        wake();
    }
    if (fds[1].revents != 0)
        take_signals();
    if (machine.talks || fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        hear_guest();
    if (machine.sending != NULL)
        session_send_plan(&machine.session, &machine.link, machine.sending->b.data, machine.sending->b.size, &machine.sent,
                          machine.sending == &machine.op->args.machine.beginning);
    if (machine.ready)
        session_move(&machine.session, &machine.link, fds + SESSION);
    if (machine.ready)
        programs_move(&machine.link, fds + PROGRAMS);
    link_flush(&machine.link);
}

void op_machine(struct container *self, const struct op *op)
{
    bool discard = op->args.machine.discard.u != 0;

    machine.container = self;
    machine.op = op;
    machine.control = -1;
    machine.file = slot_descriptor(self->plan, op->args.machine.park.u);
    machine.disk_copy = slot_descriptor(self->plan, op->args.machine.park_disk.u);
    machine.patience = (uint64_t)op->args.machine.seconds.u * 1000000000u;
    place_streams(self);
    prctl(PR_SET_NAME, "estiba-machine");
    if (has_initramfs())
        make_initramfs(op);
    make_blocks();
    start_monitor(op);
    programs_open();
    trace("machine");
    open_session();
    if (machine.file >= 0 && !has_initramfs()) {
        close_fd(&machine.file);
        wake();
    }
    machine.deadline = clock_ns(CLOCK_MONOTONIC) + machine.patience;
    while (!session_is_over(&machine.session))
        turn();
    machine.deadline = clock_ns(CLOCK_MONOTONIC) + machine.patience;
    while (!discard && !machine.synced)
        turn();
    end(machine.session.exit_code);
}
