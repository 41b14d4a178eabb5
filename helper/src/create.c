/*
 * `estiba-init create`: makes a process of an OCI runtime's container (a bundle's program, or one more of a container that runs) and
 * ends. Nobody stays: the process becomes a child of whoever above the caller is a subreaper (prctl(2)), who learns how it ended.
 *
 * What the caller is told, and says: PROTOCOL.md, "Create".
 */
#define _GNU_SOURCE
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base.h"
#include "cgroup.h"
#include "commands.h"
#include "run.h"
#include "sys.h"

static struct run *run; /* for the failure sink */
static int caller = -1;

static _Noreturn void give_up(void)
{
    if (run->program >= 0) {
        sys_pidfd_send_signal(run->program, SIGKILL);
        waitpid(run->pid, NULL, __WALL);
    }
    _exit(EXIT_LAUNCH);
}

static void report_to_caller(const char *record, size_t size)
{
    struct message message = {.type = MESSAGE_FAILED};

    channel_send(caller, &message, record, size, NULL, 0);
    give_up();
}

/* Root of a user namespace that was joined; without a 0 in its maps there is none. */
static void become_its_root(void)
{
    (void)!setgroups(0, NULL);
    (void)!setresgid(0, 0, 0);
    (void)!setresuid(0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of ids clears it (prctl(2)) */
    prctl(PR_SET_DUMPABLE, 0);
}

static bool join(const struct plan *plan, const struct op *op)
{
    return setns(plan->slots[op->args.join_namespace.slot.u].fd, (int)op->args.join_namespace.kind.q) == 0;
}

/*
 * A namespace belongs to the user namespace that it was made in, and only who has rights there may join it. So those are tried that
 * the host's own rights reach, then the user namespace is joined, then the others. The mount namespace is the last of either group.
 */
static void join_namespaces(const struct plan *plan)
{
    static bool joined[MAX_SLOTS];
    const struct op *user = NULL;

    for (int pass = 0; pass < 2; pass++) {
        for (int last = 0; last < 2; last++) {
            for (const struct op *op = plan_find(plan, OP_JOIN_NAMESPACE); op != NULL; op = plan_next(plan, op, OP_JOIN_NAMESPACE)) {
                uint64_t kind = op->args.join_namespace.kind.q;
                if (kind == CLONE_NEWUSER)
                    user = op;
                if (kind == CLONE_NEWUSER || (kind == CLONE_NEWNS) != (last == 1) || joined[op->args.join_namespace.slot.u])
                    continue;
                if (join(plan, op))
                    joined[op->args.join_namespace.slot.u] = true;
                else if (pass == 1 || user == NULL || errno != EPERM)
                    fail(LAUNCH, "join", errno, NULL, "%s", plan->slots[op->args.join_namespace.slot.u].path);
            }
        }
        if (pass == 0 && user != NULL) {
            if (!join(plan, user))
                fail(LAUNCH, "join", errno, NULL, "%s", plan->slots[user->args.join_namespace.slot.u].path);
            become_its_root();
        }
    }
}

/* What a container in the caller's own mount namespace can be told from the host by. */
static void join_root(const struct plan *plan)
{
    const struct op *op = plan_find(plan, OP_JOIN_ROOT);

    if (op != NULL && (fchdir(plan->slots[op->args.join_root.slot.u].fd) != 0 || chroot(".") != 0))
        fail(LAUNCH, "join", errno, NULL, "the root of the container");
}

/* Offsets can be set only before the first process is in the namespace: a child of ours will be. */
static void make_time_namespace(const struct plan *plan)
{
    const struct op *op = plan_find(plan, OP_TIME_OFFSETS);

    if (op == NULL)
        return;
    const union value *text = &op->args.time_offsets.text;
    if (unshare(CLONE_NEWTIME) != 0)
        fail(LAUNCH, "namespaces", errno, NULL, "of time");
    if (text->s.size > 0 && write_file_at(AT_FDCWD, "/proc/self/timens_offsets", text->s.data, text->s.size) != 0)
        fail(LAUNCH, "time_offsets", errno, NULL, "%s", text->s.data);
}

/* The caller's hooks run now; when it is gone, so is what it wanted. */
static void ask_caller(int connection)
{
    struct message message;

    if (channel_tell(caller, MESSAGE_ASK, (uint32_t)run->pid) != 0 || channel_receive(caller, &message, NULL, 0, NULL, 0) < 0 ||
        message.type != MESSAGE_GO)
        give_up();
    channel_tell(connection, MESSAGE_GO, 0);
}

static bool hear_process(int connection)
{
    static struct descriptors descriptors;
    char data[MAX_RECORD];
    struct message message;
    ssize_t size;
    bool made = false;

    while ((size = channel_receive(connection, &message, data, sizeof data, &descriptors, 0)) >= 0) {
        if (message.type == MESSAGE_FAILED)
            report_to_caller(data, (size_t)size);
        else if (message.type == MESSAGE_STREAMS)
            channel_send(caller, &message, NULL, 0, &descriptors, 0);
        else if (message.type == MESSAGE_ASK)
            ask_caller(connection);
        else if (message.type == MESSAGE_EXECUTE)
            made = true;
        while (descriptors.count > 0)
            close(descriptors.fds[--descriptors.count]);
    }
    return made;
}

int create_main(const struct plan *plan)
{
    static struct run self;
    int connection[2];

    plan_check_create(plan);
    run_close_others(plan);
    run_read(&self, plan);
    run = &self;
    caller = plan->slots[plan_find(plan, OP_CALLER)->args.caller.slot.u].fd;
    set_failure_sink(report_to_caller);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a caller that is killed leaves nothing half made */
    prctl(PR_SET_DUMPABLE, 0);
    run_listen(&self);
    channel_pair(connection);
    limit_devices(plan);
    int cgroup = open_cgroups(plan); /* as the caller, who may not be anybody in a user namespace that is joined */
    join_namespaces(plan);
    make_time_namespace(plan);
    join_root(plan);
    clone_program(&self, connection, cgroup);
    close(connection[1]);
    prepare_program(&self, connection[0]);
    if (!hear_process(connection[0]))
        fail(LAUNCH, "container", 0, NULL, "its first process was killed");
    channel_tell(caller, MESSAGE_EXECUTE, (uint32_t)self.pid);
    return 0;
}
