/* The monitor: between the program and its clients for as long as the program lives, and then the one who tidies up. */
#define _GNU_SOURCE
#include "monitor.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base.h"
#include "cgroup.h"
#include "input.h"
#include "sys.h"

static struct monitor monitor;

/* A failure of the monitor itself, before there is a program. */
static void report_to_client(const char *record, size_t size)
{
    struct message message = {.type = MESSAGE_FAILED};
    channel_send(monitor.run->clients[0], &message, record, size, NULL, 0);
}

static void make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        fail(LAUNCH, "streams", errno, NULL, "a pipe");
}

/* Pipes are small for a user who has many (pipe(7), pipe-user-pages-soft). What a stage holds must fit into the scratch pipe. */
static void make_stages(struct run *run)
{
    make_pipe(run->scratch);
    for (unsigned i = 0; i < (run->kind == STREAMS_PIPES ? 2 : 1); i++) {
        make_pipe(run->stage[i]);
        fcntl(run->stage[i][1], F_SETPIPE_SZ, fcntl(run->scratch[1], F_GETPIPE_SZ));
    }
    if (run->input_kind != INPUT_NONE)
        make_pipe(run->input_stage);
}

static void leave_session(void)
{
    autoclose null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        fail(LAUNCH, "streams", errno, NULL, "/dev/null");
    setsid();
    if (chdir("/") != 0) /* a container's life long no file system of the caller is kept busy */
        fail(LAUNCH, "streams", errno, NULL, "/");
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
}

/* Signals that a terminal or a user sends to the engine's processes are not meant for the watchers. */
static void ignore_signals(void)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU};

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
}

static volatile sig_atomic_t child_died;

static void note_death(int number)
{
    (void)number;
    child_died = 1;
}

/* Without a PID namespace of its own the container's orphans come to the monitor. */
static void take_orphans(void)
{
    struct sigaction action = {.sa_handler = note_death, .sa_flags = SA_NOCLDSTOP};
    sigset_t deaths;

    sigaction(SIGCHLD, &action, NULL);
    sigemptyset(&deaths);
    sigaddset(&deaths, SIGCHLD); /* comes while the monitor waits (ppoll(2)), so that none is missed */
    sigprocmask(SIG_BLOCK, &deaths, NULL);
}

/* All but the program itself, whose status is taken through its pidfd. */
static void reap_orphans(const struct run *run)
{
    siginfo_t info = {0};

    child_died = 0;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0 && info.si_pid != run->pid) {
        waitpid(info.si_pid, NULL, WNOHANG);
        info.si_pid = 0;
    }
}

static void start(struct run *run)
{
    int ends[2];

    leave_session();
    ignore_signals();
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        fail(LAUNCH, "subreaper", errno, NULL, "the monitor");
    if ((namespaces_of(run->plan) & CLONE_NEWPID) == 0)
        take_orphans();
    if (run->kind != STREAMS_NULL)
        make_stages(run);
    if (run->log.directory >= 0 && !log_open(run))
        fail(LAUNCH, "log", errno, NULL, "%s", run->log.name);
    channel_pair(ends);
    run->keeper = ends[0];
    run->monitor = ends[1];
    pid_t pid = fork();
    if (pid < 0)
        fail(LAUNCH, "fork", errno, NULL, "the keeper");
    if (pid == 0) {
        close_fd(&run->keeper);
        close_fd(&run->log.fd);
        keeper_main(run);
    }
    close_fd(&run->monitor);
}

/* The keeper is gone. Before the program ran that is a failure to launch; afterwards the program is our child now. */
static void lose_keeper(struct run *run)
{
    close_fd(&run->keeper);
    if (run->phase != LAUNCHING)
        return;
    run->phase = FAILED;
    strcpy(run->record, "launch keeper 0 it was killed\n");
    if (run->program >= 0) { /* it may be past its own death with the keeper (container.c) */
        struct pollfd end = {.fd = run->program, .events = POLLIN};
        sys_pidfd_send_signal(run->program, SIGKILL);
        while (poll(&end, 1, -1) < 0)
            ;
    }
    run->exit_code = EXIT_LAUNCH;
    status_failed(run);
    status_exited(run, false);
}

static void hear_keeper(struct run *run)
{
    static struct descriptors descriptors;
    char data[MAX_RECORD];
    struct message message;
    ssize_t size = channel_receive(run->keeper, &message, data, sizeof data - 1, &descriptors, 0);

    if (size < 0) {
        lose_keeper(run);
        return;
    }
    switch (message.type) {
    case MESSAGE_STREAMS:
        run->program = descriptors.count > 0 ? descriptors.fds[--descriptors.count] : -1;
        take_streams(run, &descriptors);
        break;
    case MESSAGE_STARTED:
        run->user_namespace = descriptors.count > 0 ? descriptors.fds[0] : -1;
        run->pid = (pid_t)message.number;
        run->phase = STARTED;
        break;
    case MESSAGE_FAILED:
        run->user_namespace = descriptors.count > 0 ? descriptors.fds[0] : -1;
        memcpy(run->record, data, (size_t)size);
        run->record[size] = '\0';
        run->phase = FAILED;
        break;
    case MESSAGE_EXITED:
        run->exit_code = (int)message.number;
        run->exit_signal = (int)message.offset;
        run->phase = EXITED;
        break;
    default:
        break;
    }
}

/* Without a keeper: the program is the monitor's child, or another's and only its pidfd tells. */
static void hear_program(struct run *run)
{
    if (!take_exit_status(run)) {
        run->exit_code = 255; /* nobody knows any more (kernels before 6.15, both watchers killed in turn) */
        run->exit_signal = 0;
    }
    run->phase = EXITED;
    bool oom = cgroups_had_oom(run->plan);
    status_exited(run, oom);
    events_ended(run, oom);
}

enum { KEEPER, LISTENER, INPUT, OUTPUT, CLIENTS = OUTPUT + 2, POLLED = CLIENTS + MAX_CLIENTS };

static void watch(const struct monitor *self, struct pollfd fds[POLLED])
{
    const struct run *run = self->run;
    int level = run->input_kind != INPUT_NONE ? input_level(run) : 0;

    fds[KEEPER] = (struct pollfd){.fd = run->keeper >= 0 ? run->keeper : run->program, .events = POLLIN};
    if (run->phase == EXITED)
        fds[KEEPER].fd = -1;
    fds[LISTENER] = (struct pollfd){.fd = run->listener, .events = POLLIN};
    fds[INPUT] = (struct pollfd){.fd = level > 0 ? run->input : -1, .events = POLLOUT};
    for (unsigned i = 0; i < 2; i++)
        fds[OUTPUT + i] = (struct pollfd){.fd = self->streams[i].held == 0 ? self->streams[i].source : -1, .events = POLLIN};
    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        const struct client_state *client = &self->clients[i];
        short events = (short)((client->stalled ? 0 : POLLIN) | (client->blocked ? POLLOUT : 0));
        fds[CLIENTS + i] = (struct pollfd){.fd = run->clients[i], .events = events};
    }
}

/* How long to wait for an event at most, in milliseconds; -1: until there is one. */
static int patience(struct monitor *self)
{
    int stalled = clients_drop_stalled(self);

    if (self->run->phase == EXITED) {
        bool first = !self->has_room;
        if (first)
            clients_make_room(self);
        self->has_room = true;
        if (first || (self->streams[0].held == 0 && self->streams[1].held == 0))
            return 0;
    }
    if (self->log_blocked) /* the disk may have room again */
        return stalled >= 0 && stalled < RETRY_MS ? stalled : RETRY_MS;
    return stalled;
}

static void turn(struct monitor *self)
{
    static const sigset_t none;
    struct run *run = self->run;
    struct pollfd fds[POLLED];

    if (child_died)
        reap_orphans(run);
    int wait = patience(self);
    struct timespec limit = {.tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000L};
    watch(self, fds);
    if (ppoll(fds, POLLED, wait < 0 ? NULL : &limit, &none) < 0)
        return;
    if (fds[LISTENER].revents & POLLIN)
        clients_accept(self);
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        if (fds[CLIENTS + i].fd >= 0 && (fds[CLIENTS + i].revents & (POLLIN | POLLHUP | POLLERR)))
            client_read(self, i, fds[CLIENTS + i].revents & POLLHUP);
    relay_input(self);
    self->log_blocked = false;
    for (unsigned i = 0; i < 2; i++)
        relay_output(self, &self->streams[i], fds[OUTPUT + i].revents != 0);
    if (fds[KEEPER].revents != 0 && run->phase != EXITED) {
        if (run->keeper >= 0)
            hear_keeper(run);
        else
            hear_program(run);
    }
}

/* Tells the clients how it ended, then does what nobody waits for. */
static _Noreturn void finish(struct monitor *self)
{
    struct run *run = self->run;
    struct message message = {.type = MESSAGE_EXITED, .number = (uint32_t)run->exit_code, .offset = (uint64_t)run->exit_signal};
    size_t size = 0;

    if (run->phase == FAILED) {
        message = (struct message){.type = MESSAGE_FAILED};
        size = strlen(run->record);
    }
    log_end(run);
    after_before_report(run);
    trace("report");
    clients_accept(self); /* who connected in time learns it too */
    clients_tell(self, &message, run->record, size);
    if (run->keeper >= 0) {
        channel_tell(run->keeper, MESSAGE_REPORTED, 0);
        while (channel_receive(run->keeper, &message, NULL, 0, NULL, 0) >= 0)
            ; /* until it let the namespaces go and ended */
    }
    if (run->pid > 0) /* without a keeper it is ours: unreaped it would hold up the end of the PID namespace that it joined */
        waitpid(run->pid, NULL, WNOHANG | __WALL);
    after_behind_report(run);
    _exit(0);
}

void monitor_main(struct run *run, bool resumed)
{
    monitor.run = run;
    set_failure_sink(report_to_client);
    prctl(PR_SET_NAME, "estiba-monitor");
    if (!resumed)
        start(run);
    else if (run->log.directory >= 0)
        log_open(run);
    input_resume(run);
    while (run->phase == LAUNCHING)
        hear_keeper(run);
    if (run->phase == FAILED)
        finish(&monitor);
    harden_watcher();
    relay_open(&monitor, resumed);
    struct message started = {.type = MESSAGE_STARTED, .number = CLIENT_PROTOCOL}; /* a dead monitor may not have said it */
    clients_tell(&monitor, &started, NULL, 0);
    for (unsigned i = 0; i < 2; i++) /* what a dead monitor left: no event will tell of it */
        relay_output(&monitor, &monitor.streams[i], false);
    relay_input(&monitor);
    while (run->phase != EXITED || !relay_is_drained(&monitor))
        turn(&monitor);
    finish(&monitor);
}
