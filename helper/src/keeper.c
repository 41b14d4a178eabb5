/*
 * The keeper: makes the container's first process, waits for it and writes how it ended. It holds what a monitor needs, and
 * starts a new one when the monitor dies.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base.h"
#include "cgroup.h"
#include "idmap.h"
#include "run.h"
#include "sys.h"

static struct run *run; /* for the failure sink */

/* PIDFD_GET_*_NAMESPACE of linux/pidfd.h since Linux 6.11; before, the files of /proc/<pid>/ns are opened. */
enum { IPC = 2, MNT = 3, NET = 4, USER = 9 };

static int open_namespace(const struct run *self, unsigned number, const char *name)
{
    int fd = ioctl(self->program, _IO(0xff, number), 0);

    if (fd < 0) {
        char path[48];
        snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)self->pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    return fd;
}

static void start_monitor(struct run *self)
{
    static pid_t last; /* the first monitor is the keeper's parent, those that follow are its children */
    struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    int ends[2];
    pid_t pid;

    close_fd(&self->monitor);
    if (last > 0)
        waitpid(last, NULL, 0);
    channel_pair(ends);
    while ((pid = fork()) < 0) /* without a monitor nobody reads the program's output: there is nothing else to do */
        nanosleep(&pause, NULL);
    if (pid == 0) {
        close(ends[1]);
        self->keeper = ends[0];
        self->monitor = -1;
        for (unsigned i = 0; i < ARRAY_SIZE(self->namespaces); i++)
            close_fd(&self->namespaces[i]);
        monitor_main(self, true);
    }
    last = pid;
    close(ends[0]);
    self->monitor = ends[1];
}

/* What a next monitor must not have any more, or has to take over. */
static void obey_monitor(struct run *self, const struct message *message, const struct descriptors *descriptors)
{
    if (message->type == MESSAGE_REPORTED)
        self->reported = true;
    else if (message->type == MESSAGE_INPUT_CLOSED)
        close_fd(&self->input);
    else if (message->type == MESSAGE_OUTPUT_CLOSED && (message->stream == 1 || message->stream == 2))
        close_fd(&self->output[message->stream - 1]);
    else if ((message->type == MESSAGE_CLIENT || message->type == MESSAGE_CLIENT_GONE) && message->number < MAX_CLIENTS)
        close_fd(&self->clients[message->number]);
    if (message->type == MESSAGE_CLIENT_GONE && message->number == 0)
        close_fd(&self->terminal); /* it is another's by now */
    if (message->type == MESSAGE_CLIENT && message->number < MAX_CLIENTS && descriptors->count == 1)
        self->clients[message->number] = descriptors->fds[0];
}

/* True when it was dead, and there is a new one. */
static bool hear_monitor(struct run *self)
{
    static struct descriptors descriptors;
    struct message message;

    if (channel_receive(self->monitor, &message, NULL, 0, &descriptors, 0) < 0) {
        start_monitor(self);
        return true;
    }
    obey_monitor(self, &message, &descriptors);
    return false;
}

/* What a new monitor would have to be told is in `run` before it is said to this one. What this one said before it died is heard first. */
static void tell_monitor(struct run *self, const struct message *message, const void *data, size_t size,
                         const struct descriptors *descriptors)
{
    if (channel_send(self->monitor, message, data, size, descriptors, 0) != 0)
        while (!hear_monitor(self))
            ;
}

/* Waits until the monitor reported the end; a monitor that dies before is replaced. */
static _Noreturn void finish(struct run *self)
{
    while (!self->reported)
        hear_monitor(self);
    waitpid(self->pid, NULL, WNOHANG | __WALL);
    _exit(0);
}

static void report_failure(const char *record, size_t size)
{
    struct message message = {.type = MESSAGE_FAILED};
    struct descriptors descriptors = {.fds = {run->user_namespace}, .count = run->user_namespace >= 0};

    memcpy(run->record, record, size);
    run->record[size] = '\0';
    run->phase = FAILED;
    run->exit_code = record_status(run->record);
    status_failed(run);
    status_exited(run, false);
    if (run->program >= 0) {
        sys_pidfd_send_signal(run->program, SIGKILL);
        waitpid(run->pid, NULL, __WALL);
    }
    tell_monitor(run, &message, record, size, &descriptors);
    finish(run);
}

void clone_program(struct run *self, const int connection[2], int cgroup)
{
    const struct op *user = plan_find(self->plan, OP_USER_NAMESPACE);
    /* The cgroup namespace's root is the cgroup of that moment: it is made when the program has joined its own. */
    uint64_t made = namespaces_of(self->plan) & ~(uint64_t)CLONE_NEWCGROUP;
    struct clone_args args = {
        .flags = (self->joins ? 0 : made) | CLONE_PIDFD | (user ? CLONE_NEWUSER : 0),
        .pidfd = (uint64_t)(uintptr_t)&self->program,
        .exit_signal = SIGCHLD,
    };

    if (cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
    }
    /* The files of a process that is not dumpable belong to root: until its maps are written, the child's must not. */
    prctl(PR_SET_DUMPABLE, user != NULL);
    trace("clone");
    self->pid = sys_clone3(&args);
    if (self->pid == 0)
        container_main(self, connection[1]);
    int error = errno;
    prctl(PR_SET_DUMPABLE, 0);
    close_cgroups();
    if (self->pid < 0) {
        self->program = -1;
        if (cgroup >= 0 && (error == EACCES || error == EBUSY || error == EOPNOTSUPP || error == ENODEV))
            fail(LAUNCH, "cgroup", error, NULL, "the container's cgroup");
        fail(LAUNCH, user ? "user_namespace" : "namespaces", error, NULL, "of the container");
    }
}

/* The process that was cloned joined the container and made the program there, which has the same connection and waits. */
static void adopt_program(struct run *self, int connection)
{
    struct descriptors descriptors;
    char data[MAX_RECORD];
    struct message message;
    ssize_t size = channel_receive(connection, &message, data, sizeof data - 1, &descriptors, 0);

    if (size >= 0 && message.type == MESSAGE_FAILED) {
        data[size] = '\0';
        report_failure(data, (size_t)size);
    }
    if (size < 0 || message.type != MESSAGE_JOINED || descriptors.count != 1)
        fail(LAUNCH, "join", 0, "the container may have ended", "the process that joins it was killed");
    waitpid(self->pid, NULL, __WALL);
    close_fd(&self->program);
    self->pid = (pid_t)message.number;
    self->program = descriptors.fds[0];
}

void prepare_program(struct run *self, int connection)
{
    static struct descriptors clones;
    struct message go = {.type = MESSAGE_GO, .number = (uint32_t)self->pid};
    const struct op *user = plan_find(self->plan, OP_USER_NAMESPACE);

    trace("maps");
    if (user != NULL) {
        write_id_maps(user, self->pid);
        self->user_namespace = open_namespace(self, USER, "user");
        if (self->user_namespace < 0)
            fail(LAUNCH, "user_namespace", errno, NULL, "of the container");
    }
    if (self->joins && plan_find(self->plan, OP_IDMAP) != NULL && (self->user_namespace = open_namespace(self, USER, "user")) < 0)
        fail(LAUNCH, "user_namespace", errno, NULL, "of the container");
    make_idmapped_clones(self->plan, self->user_namespace, &clones);
    channel_send(connection, &go, NULL, 0, &clones, 0);
    for (size_t i = 0; i < clones.count; i++)
        close(clones.fds[i]); /* the message holds them: closing a mount that nobody attached would wait for RCU */
    trace("go");
}

/* Until the program is executed: its close-on-exec end of the connection is gone then. False when it died before. */
static bool hear_program(struct run *self, int connection)
{
    static struct descriptors descriptors;
    char data[MAX_RECORD];
    struct message message;
    ssize_t size;
    bool executes = false;

    while ((size = channel_receive(connection, &message, data, sizeof data - 1, &descriptors, 0)) >= 0) {
        if (message.type == MESSAGE_STREAMS) {
            take_streams(self, &descriptors);
            descriptors.fds[descriptors.count++] = self->program; /* for a monitor that outlives the keeper from here on */
            tell_monitor(self, &message, NULL, 0, &descriptors);
        } else if (message.type == MESSAGE_FAILED) {
            data[size] = '\0';
            report_failure(data, (size_t)size);
        } else if (message.type == MESSAGE_EXECUTE) {
            executes = true;
        }
    }
    return executes;
}

static void start_program(struct run *self)
{
    int connection[2];

    channel_pair(connection);
    limit_devices(self->plan);
    clone_program(self, connection, open_cgroups(self->plan));
    close(connection[1]);
    close_fd(&self->rest);
    if (self->joins)
        adopt_program(self, connection[0]);
    prepare_program(self, connection[0]);
    if (!hear_program(self, connection[0]))
        fail(LAUNCH, "container", 0, NULL, "its first process was killed");
    close(connection[0]);
    trace("executed");
    if (!self->joins) {
        self->namespaces[0] = open_namespace(self, MNT, "mnt");
        self->namespaces[1] = open_namespace(self, NET, "net");
        self->namespaces[2] = open_namespace(self, IPC, "ipc");
    }
    self->phase = STARTED;
    status_running(self);
    events_started(self);
    struct message message = {.type = MESSAGE_STARTED, .number = (uint32_t)self->pid};
    struct descriptors descriptors = {.fds = {self->user_namespace}, .count = self->user_namespace >= 0};
    tell_monitor(self, &message, NULL, 0, &descriptors);
}

static void take_end(struct run *self)
{
    struct message message = {.type = MESSAGE_EXITED};

    if (!take_exit_status(self))
        return;
    self->phase = EXITED;
    bool oom = cgroups_had_oom(self->plan);
    status_exited(self, oom);
    events_ended(self, oom);
    message.number = (uint32_t)self->exit_code;
    message.offset = (uint64_t)self->exit_signal;
    tell_monitor(self, &message, NULL, 0, NULL);
    finish(self);
}

void keeper_main(struct run *self)
{
    run = self;
    set_failure_sink(report_failure);
    prctl(PR_SET_NAME, "estiba-keeper");
    start_program(self);
    harden_watcher();
    for (;;) {
        struct pollfd fds[2] = {{.fd = self->program, .events = POLLIN}, {.fd = self->monitor, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents != 0)
            take_end(self);
        else if (fds[1].revents != 0)
            hear_monitor(self);
    }
}
