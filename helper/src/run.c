/*
 * `estiba-init run`. Processes, in the order of their making, and why each is there:
 *
 *   client   the calling process. Copies the streams like any client that attaches later; its death changes nothing.
 *   monitor  a session of its own and a subreaper (prctl(2)), so that a program whose keeper was killed becomes its child.
 *   keeper   parent of the program, so that the exit status reaches a process that does nothing else.
 *   program  the first process of the container's namespaces.
 */
#define _GNU_SOURCE
#include "run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <termios.h>

#include "base.h"
#include "channel.h"
#include "commands.h"
#include "sys.h"

static int slot_fd(const struct plan *plan, uint16_t code)
{
    const struct op *op = plan_find(plan, code);
    return op ? plan->slots[op->args.all[0].u].fd : -1;
}

/* Only the slots stay open, and nothing of them reaches a program by an exec. */
void run_close_others(const struct plan *plan)
{
    int fds[MAX_SLOTS];

    for (size_t i = 0; i < MAX_SLOTS; i++)
        fds[i] = plan->slots[i].fd;
    if (close_all_but(fds, MAX_SLOTS) != 0 || sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        fail(LAUNCH, "close_range", errno, NULL, "of the inherited descriptors");
}

uint64_t namespaces_of(const struct plan *plan)
{
    const struct op *join = plan_find(plan, OP_JOIN);
    return join ? join->args.join.flags.q : plan_find(plan, OP_NAMESPACES)->args.namespaces.flags.q;
}

bool joins_namespace(const struct plan *plan, uint64_t kind)
{
    for (const struct op *op = plan_find(plan, OP_JOIN_NAMESPACE); op != NULL; op = plan_next(plan, op, OP_JOIN_NAMESPACE))
        if (op->args.join_namespace.kind.q == kind)
            return true;
    return false;
}

static struct log log_of(const struct plan *plan)
{
    const struct op *op = plan_find(plan, OP_LOG);

    if (op == NULL)
        return (struct log){.directory = -1, .fd = -1};
    return (struct log){
        .directory = slot_fd(plan, OP_LOG),
        .name = op->args.log.name.s.data,
        .max_size = op->args.log.max_size.q,
        .max_files = op->args.log.max_files.u,
        .fd = -1,
    };
}

void run_read(struct run *run, const struct plan *plan)
{
    const struct op *streams = plan_find(plan, OP_STREAMS), *client = plan_find(plan, OP_CLIENT);
    const struct op *stop = plan_find(plan, OP_STOP_SIGNAL);

    *run = (struct run){
        .plan = plan,
        .joins = plan_find(plan, OP_JOIN) != NULL,
        .stop_signal = stop ? stop->args.stop_signal.number.u : 0,
        .log = log_of(plan),
        .status = slot_fd(plan, OP_STATUS),
        .report = slot_fd(plan, OP_REPORT),
        .listener = -1, .keeper = -1, .monitor = -1, .rest = -1, .terminal = -1, .input = -1, .program = -1,
        .output = {-1, -1}, .stage = {{-1, -1}, {-1, -1}}, .input_stage = {-1, -1}, .scratch = {-1, -1}, .user_namespace = -1, .namespaces = {-1, -1, -1},
    };
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        run->clients[i] = -1;
    if (streams != NULL) {
        run->kind = (enum stream_kind)streams->args.streams.kind.u;
        run->input_kind = run->kind == STREAMS_NULL ? INPUT_NONE : (enum input_kind)streams->args.streams.stdin_.u;
        run->rows = streams->args.streams.rows.u;
        run->columns = streams->args.streams.columns.u;
    }
    if (client != NULL) {
        run->attached = client->args.client.attached.u != 0;
        run->muted = client->args.client.attached.u >> 1;
        run->signal_proxy = client->args.client.signal_proxy.u != 0;
    }
}

void run_listen(struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_LISTEN);

    if (op == NULL)
        return;
    run->listener = channel_listen(slot_fd(run->plan, OP_LISTEN), op->args.listen.name.s.data);
    if (run->listener < 0)
        fail(LAUNCH, "listen", errno, NULL, "%s", op->args.listen.name.s.data);
}

static void lock_status(const struct run *run)
{
    if (run->status >= 0 && flock(run->status, LOCK_EX | LOCK_NB) != 0)
        fail(LAUNCH, "status", errno, NULL, "the container's status file");
}

/* A terminal of unknown size gets the caller's. */
static void take_size(struct run *run)
{
    struct winsize size;

    if (run->kind == STREAMS_TERMINAL && run->rows == 0 && run->columns == 0 &&
        (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)) {
        run->rows = size.ws_row;
        run->columns = size.ws_col;
    }
}

static int keep_terminal(struct termios *before)
{
    return tcgetattr(STDIN_FILENO, before) == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : -1;
}

void take_streams(struct run *run, const struct descriptors *descriptors)
{
    const int *fds = descriptors->fds;
    size_t wanted = run->kind == STREAMS_NULL ? 0 : run->kind == STREAMS_TERMINAL ? 1 : 2u + (run->input_kind != INPUT_NONE);

    if (descriptors->count != wanted)
        fail(LAUNCH, "streams", 0, NULL, "%zu descriptors instead of %zu", descriptors->count, wanted);
    if (run->kind == STREAMS_NULL)
        return;
    if (run->kind == STREAMS_TERMINAL) {
        run->output[0] = run->input = fds[0];
        return;
    }
    run->output[0] = fds[0];
    run->output[1] = fds[1];
    run->input = run->input_kind != INPUT_NONE ? fds[2] : -1;
}

static struct shared *share(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        fail(LAUNCH, "memory", errno, NULL, "shared by monitor and keeper");
    return shared;
}

static int report_slot = -1;

static void write_report(const char *record, size_t size)
{
    (void)!write_all(report_slot, record, size);
}

int run_main(const struct plan *plan)
{
    int connection[2];
    struct run run;

    plan_check_run(plan);
    run_close_others(plan);
    run_read(&run, plan);
    trace_to(slot_fd(plan, OP_TRACE));
    trace("plan");
    if (run.joins)
        set_failure_subject("exec in container", EXIT_CANNOT_EXECUTE);
    report_slot = run.report;
    if (run.report >= 0)
        set_failure_sink(write_report);
    prctl(PR_SET_DUMPABLE, 0);
    lock_status(&run);
    run_listen(&run);
    take_size(&run);
    run.shared = share();
    channel_pair(connection);
    if (run.attached && run.kind == STREAMS_TERMINAL && run.input_kind != INPUT_NONE)
        run.terminal = keep_terminal(&run.terminal_before);
    pid_t pid = fork();
    if (pid < 0)
        fail(LAUNCH, "fork", errno, NULL, "the monitor");
    if (pid == 0) {
        close(connection[0]);
        run.clients[0] = connection[1];
        monitor_main(&run, false);
    }
    close(connection[1]); /* or the end of the others could not be seen */
    return client_main(&run, connection[0]);
}
