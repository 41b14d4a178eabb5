/* What is done when the container is gone: first what others may see, then, behind the report, what takes time. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "cgroup.h"
#include "run.h"
#include "unpack.h"

static int slot(const struct run *run, const union value *number)
{
    return run->plan->slots[number->u].fd;
}

/* The link is looked at now, not when the plan was made: the container may have been renamed, or be about to start again. */
static bool read_entry(const struct run *run, const struct op *op, char entry[256])
{
    const char *name = op->args.discard.name.s.data;
    autoclose folder = openat(slot(run, &op->args.discard.slot), name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t size = folder < 0 ? -1 : readlinkat(folder, "name", entry, 255);

    entry[size > 0 ? size : 0] = '\0';
    return size > 0;
}

bool after_takes_container(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_DISCARD);
    char entry[256];

    return op != NULL && read_entry(run, op, entry);
}

static bool is_going(const struct run *run, const struct op *op)
{
    const union value *name = &op->args.discard.name;
    int names = slot(run, &op->args.discard.names);
    char entry[256], target[256];

    if (!read_entry(run, op, entry))
        return false;
    ssize_t size = strchr(entry, '/') ? -1 : readlinkat(names, entry, target, sizeof target);
    if (size == (ssize_t)name->s.size && memcmp(target, name->s.data, name->s.size) == 0)
        unlinkat(names, entry, 0);
    return true;
}

static void forget(const struct run *run, const struct op *op)
{
    unlinkat(slot(run, &op->args.forget.slot), op->args.forget.name.s.data, 0);
}

void after_before_report(const struct run *run)
{
    const struct op *groups = plan_find(run->plan, OP_REMOVE_CGROUP);

    for (const struct op *op = plan_find(run->plan, OP_DISCARD); op != NULL; op = plan_next(run->plan, op, OP_DISCARD)) {
        const char *name = op->args.discard.name.s.data;
        if (is_going(run, op) && renameat(slot(run, &op->args.discard.slot), name, slot(run, &op->args.discard.trash), name) == 0)
            events_gone(run);
    }
    for (const struct op *op = plan_find(run->plan, OP_FORGET); op != NULL && (groups == NULL || op < groups);
         op = plan_next(run->plan, op, OP_FORGET))
        forget(run, op);
}

/* And then what stands behind them, unless one of them stays: the engine's record, by which is found what a killed monitor leaves. */
static void remove_groups(const struct run *run)
{
    const struct op *first = plan_find(run->plan, OP_REMOVE_CGROUP);
    bool gone = true;

    for (const struct op *op = first; op != NULL; op = plan_next(run->plan, op, OP_REMOVE_CGROUP))
        gone &= remove_cgroup(slot(run, &op->args.remove_cgroup.slot), op->args.remove_cgroup.name.s.data);
    for (const struct op *op = plan_find(run->plan, OP_LEAVE_CGROUP); op != NULL; op = plan_next(run->plan, op, OP_LEAVE_CGROUP))
        leave_cgroup(slot(run, &op->args.leave_cgroup.slot), op->args.leave_cgroup.name.s.data);
    if (first == NULL || !gone)
        return;
    for (const struct op *op = plan_next(run->plan, first, OP_FORGET); op != NULL; op = plan_next(run->plan, op, OP_FORGET))
        forget(run, op);
}

void after_behind_report(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_DISCARD);

    remove_groups(run);
    /* Of an ordinary user the files belong to subordinate ids, which only the container's user namespace has power over. */
    if (op != NULL && geteuid() != 0 && run->user_namespace >= 0 && setns(run->user_namespace, CLONE_NEWUSER) != 0)
        return; /* it stays in the trash, which the next command empties */
    for (; op != NULL; op = plan_next(run->plan, op, OP_DISCARD))
        remove_tree(slot(run, &op->args.discard.trash), op->args.discard.name.s.data);
}
