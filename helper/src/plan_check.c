#include <linux/sched.h>
#include <string.h>

#include "failure.h"
#include "files.h"
#include "plan.h"
#include "run.h"
#include "base.h"

/* Operations that make sense at most once, and those that a plan to run needs. */
static const uint16_t once[] = {
    OP_USER_NAMESPACE, OP_NAMESPACES, OP_STREAMS, OP_CLIENT, OP_LOG,  OP_STATUS,       OP_REPORT,  OP_TRACE, OP_STOP_SIGNAL,
    OP_LISTEN,         OP_PIVOT,      OP_CONSOLE, OP_USER,   OP_INIT, OP_CAPABILITIES, OP_EXECUTE, OP_CONNECT, OP_DETACH_KEYS,
    OP_MACHINE,        OP_CONTAINER_ROOT, OP_UPPER_TREE, OP_BINFMT, OP_EVENTS, OP_JOIN, OP_ANNOUNCE,
    OP_MACHINE_EXECUTE, OP_GUEST_FILES, OP_GUEST_READ,
    OP_CALLER, OP_TIME_OFFSETS, OP_HOLD, OP_ASK, OP_PROPAGATION, OP_MOVE_ROOT,
    OP_CHANGE_ROOT, OP_JOIN_ROOT, OP_REST,
};

static _Noreturn void refuse(const struct op *op, const char *reason)
{
    fail(LAUNCH, "plan", 0, NULL, "%s %s", op->schema->name, reason);
}

static void check_slot(const struct plan *plan, const struct op *op, uint32_t number, bool needs_path)
{
    if (number >= MAX_SLOTS || plan->slots[number].fd < 0)
        refuse(op, "names a slot that is not bound");
    if (needs_path && !plan->slots[number].idmap && plan->slots[number].path[0] != '/')
        refuse(op, "names a slot without an absolute path");
}

/* A name in a slot's directory: one component, so that nothing outside it is reached. */
static void check_name(const struct op *op, const char *name)
{
    if (name[0] == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        refuse(op, "has a name that is not one path component");
}

static void check_slots(const struct plan *plan, const struct op *op)
{
    const union arguments *args = &op->args;

    switch (op->schema->code) {
    case OP_IDMAP:
    case OP_CGROUP:
    case OP_STATUS:
    case OP_REPORT:
    case OP_TRACE:
    case OP_CONTAINER_ROOT:
    case OP_JOIN:
    case OP_GUARD:
    case OP_CALLER:
    case OP_JOIN_NAMESPACE:
    case OP_KEEP:
    case OP_JOIN_ROOT:
    case OP_CGROUP_DEVICES:
        check_slot(plan, op, args->all[0].u, false);
        break;
    case OP_LOG:
    case OP_LISTEN:
    case OP_CONNECT:
    case OP_FORGET:
    case OP_EVENTS:
    case OP_REMOVE_CGROUP:
    case OP_LEAVE_CGROUP:
        check_slot(plan, op, args->all[0].u, false);
        check_name(op, args->all[1].s.data);
        break;
    case OP_DISCARD:
        check_slot(plan, op, args->discard.slot.u, false);
        check_slot(plan, op, args->discard.trash.u, false);
        check_slot(plan, op, args->discard.names.u, false);
        check_name(op, args->discard.name.s.data);
        break;
    case OP_MACHINE:
        if (args->machine.park.u != NO_SLOT)
            check_slot(plan, op, args->machine.park.u, false);
        if (args->machine.park_disk.u != NO_SLOT)
            check_slot(plan, op, args->machine.park_disk.u, false);
        break;
    case OP_OVERLAY:
        check_slot(plan, op, args->overlay.layers.u, true);
        if (args->overlay.upper.u != NO_SLOT)
            check_slot(plan, op, args->overlay.upper.u, true);
        if (args->overlay.lowers.l.count == 0)
            refuse(op, "has no lower layer");
        break;
    case OP_ROOT:
    case OP_BIND:
    case OP_VOLUME:
    case OP_UPPER_TREE:
    case OP_BINFMT:
    case OP_TREE:
        check_slot(plan, op, args->all[0].u, true);
        break;
    default:
        break;
    }
}

static const uint64_t namespace_flags =
    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWTIME;

static void check_values(const struct plan *plan, const struct op *op)
{
    const union arguments *args = &op->args;

    switch (op->schema->code) {
    case OP_NAMESPACES:
        if (args->namespaces.flags.q & ~namespace_flags)
            refuse(op, "has a flag that is not a namespace's");
        break;
    case OP_JOIN:
        if (args->join.flags.q & ~(namespace_flags | CLONE_NEWUSER))
            refuse(op, "has a flag that is not a namespace's");
        break;
    case OP_STREAMS:
        if (args->streams.kind.u > (plan_find(plan, OP_CALLER) ? 3 : 2) || args->streams.stdin_.u > 2)
            refuse(op, "has an unknown kind");
        break;
    case OP_LOG:
        if (args->log.max_files.u == 0 || args->log.name.s.size > 255 - sizeof ".4294967295")
            refuse(op, "has an impossible name or number of files");
        break;
    case OP_DETACH_KEYS:
        if (args->detach_keys.keys.b.size == 0 || args->detach_keys.keys.b.size > MAX_DETACH_KEYS)
            refuse(op, "has an impossible number of keys");
        break;
    case OP_CONSOLE: {
        const struct op *streams = plan_find(plan, OP_STREAMS);
        if (streams == NULL || streams->args.streams.kind.u != 2)
            refuse(op, "needs streams of a pseudo-terminal");
        break;
    }
    case OP_SECCOMP:
        if (args->seccomp.filter.b.size == 0 || args->seccomp.filter.b.size % 8 != 0 || args->seccomp.filter.b.size > 4096 * 8)
            refuse(op, "has a filter of an impossible size");
        break;
    case OP_CGROUP_DEVICES:
        if (args->cgroup_devices.program.b.size == 0 || args->cgroup_devices.program.b.size % 8 != 0)
            refuse(op, "has a program of an impossible size");
        break;
    case OP_EXECUTE:
    case OP_MACHINE:
        if (args->all[0].l.count == 0)
            refuse(op, "has no program");
        break;
    default:
        break;
    }
}

/* Operations on the root before it is entered. */
static bool is_of_the_root(const struct op *op)
{
    return (op->schema->code >= OP_OVERLAY && op->schema->code <= OP_READONLY) || op_is(op, OP_READONLY_ROOT) || op_is(op, OP_VOLUME) ||
           op_is(op, OP_BINFMT) || (op->schema->code >= OP_FILE_SYSTEM && op->schema->code <= OP_DEVICE);
}

static void check_all(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        check_slots(plan, &plan->ops[i]);
        check_values(plan, &plan->ops[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(once); i++) {
        const struct op *op = plan_find(plan, once[i]);
        if (op != NULL && plan_next(plan, op, once[i]) != NULL)
            refuse(op, "stands twice");
    }
}

static bool is_one_of(const struct op *op, const uint16_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (op_is(op, codes[i]))
            return true;
    return false;
}

/* Every operation is one of these. */
static void check_codes(const struct plan *plan, const uint16_t *codes, size_t count)
{
    for (uint32_t i = 0; i < plan->count; i++)
        if (!is_one_of(&plan->ops[i], codes, count))
            refuse(&plan->ops[i], "does not belong here");
}

void plan_check_attach(const struct plan *plan)
{
    check_all(plan);
    if (plan_find(plan, OP_CONNECT) == NULL)
        fail(LAUNCH, "plan", 0, NULL, "it connects to nothing");
}

void plan_check_files(const struct plan *plan)
{
    static const uint16_t allowed[] = {OP_SLOT,          OP_USER_NAMESPACE,  OP_OVERLAY,    OP_BIND, OP_VOLUME,
                                       OP_READONLY_ROOT, OP_CONTAINER_ROOT, OP_UPPER_TREE, OP_CONTAINER_MOUNT,
                                       OP_GUEST_PROGRAM, OP_GUEST_FILES};
    const struct op *running = plan_find(plan, OP_CONTAINER_ROOT), *overlay = plan_find(plan, OP_OVERLAY);
    const struct op *root = running ? running : overlay, *user = plan_find(plan, OP_USER_NAMESPACE);

    check_all(plan);
    check_codes(plan, allowed, ARRAY_SIZE(allowed));
    if (root == NULL || (running && overlay) || plan_next(plan, root, OP_OVERLAY))
        fail(LAUNCH, "plan", 0, NULL, "it needs one root");
    if ((user == NULL) != (running && running->args.container_root.user.u))
        fail(LAUNCH, "plan", 0, NULL, "it needs one user namespace");
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        bool joined = op_is(op, OP_CONTAINER_MOUNT);
        if (op->schema->side == SIDE_CONTAINER && (op < root || (op > root && joined != (running != NULL))))
            refuse(op, "does not fit its root");
    }
}

void plan_check_guard(const struct plan *plan)
{
    static const uint16_t allowed[] = {OP_SLOT, OP_GUARD, OP_FORGET};

    check_all(plan);
    check_codes(plan, allowed, ARRAY_SIZE(allowed));
}

/* Of a container that runs nothing is made again: what is left is streams, the process, and perhaps a root of its own. */
static void check_joins(const struct plan *plan)
{
    static const uint16_t allowed[] = {OP_SLOT,         OP_JOIN,   OP_CGROUP,            OP_STREAMS,   OP_CLIENT,
                                       OP_STATUS,       OP_REPORT, OP_DETACH_KEYS,       OP_CONSOLE,   OP_RLIMIT,
                                       OP_OOM_SCORE_ADJ, OP_BOUNDING, OP_USER,           OP_CAPABILITIES, OP_NO_NEW_PRIVILEGES,
                                       OP_SECCOMP,      OP_WORKING_DIRECTORY, OP_EXECUTE, OP_IDMAP, OP_OVERLAY,
                                       OP_CONTAINER_MOUNT, OP_PIVOT, OP_EVENTS, OP_MACHINE_EXECUTE, OP_GUEST_PROGRAM, OP_GUEST_SLOT};
    const struct op *join = plan_find(plan, OP_JOIN), *overlay = plan_find(plan, OP_OVERLAY), *pivot = plan_find(plan, OP_PIVOT);
    const struct op *mount = plan_find(plan, OP_CONTAINER_MOUNT);

    check_codes(plan, allowed, ARRAY_SIZE(allowed));
    if ((join->args.join.flags.q & CLONE_NEWNS) == 0)
        refuse(join, "needs the container's mount namespace");
    if ((overlay == NULL) != (pivot == NULL) || (overlay != NULL && (pivot < overlay || plan_next(plan, overlay, OP_OVERLAY))))
        fail(LAUNCH, "plan", 0, NULL, "it needs one root, and a pivot into it");
    if (mount != NULL && overlay == NULL)
        refuse(mount, "does not fit its root");
}

/* Of a new container: namespaces, and one root that is made and entered. */
static void check_makes(const struct plan *plan)
{
    static const uint16_t others[] = {OP_CONTAINER_ROOT, OP_CONTAINER_MOUNT, OP_UPPER_TREE, OP_GUARD, OP_CALLER, OP_JOIN_NAMESPACE,
                                      OP_TIME_OFFSETS, OP_HOLD, OP_ASK, OP_HOOK, OP_FILE_SYSTEM, OP_TREE, OP_ATTRIBUTES, OP_DEVICE,
                                      OP_PROPAGATION, OP_KEEP, OP_MOVE_ROOT, OP_CHANGE_ROOT, OP_JOIN_ROOT, OP_MACHINE_EXECUTE};
    const struct op *namespaces = plan_find(plan, OP_NAMESPACES), *pivot = plan_find(plan, OP_PIVOT);
    const struct op *root = plan_find(plan, OP_OVERLAY) ? plan_find(plan, OP_OVERLAY) : plan_find(plan, OP_ROOT);

    for (uint32_t i = 0; i < plan->count; i++)
        if (is_one_of(&plan->ops[i], others, ARRAY_SIZE(others)))
            refuse(&plan->ops[i], "does not belong here");
    if (namespaces == NULL || (namespaces->args.namespaces.flags.q & CLONE_NEWNS) == 0)
        fail(LAUNCH, "plan", 0, NULL, "it has no mount namespace of its own");
    if (root == NULL || pivot == NULL || pivot < root || plan_next(plan, root, OP_OVERLAY) || plan_next(plan, root, OP_ROOT))
        fail(LAUNCH, "plan", 0, NULL, "it needs one root, and a pivot into it");
    for (const struct op *op = root + 1; op < plan->ops + plan->count && op->schema->side == SIDE_CONTAINER; op++)
        if (op > pivot && is_of_the_root(op))
            refuse(op, "comes after the pivot");
    for (const struct op *op = plan->ops; op < root; op++)
        if (is_of_the_root(op))
            refuse(op, "comes before the root");
}

/* The program, or what stands for it: one, and last. */
static void check_end(const struct plan *plan)
{
    static const uint16_t ends[] = {OP_EXECUTE, OP_MACHINE, OP_MACHINE_EXECUTE, OP_REST};
    const struct op *found = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        const struct op *op = plan_find(plan, ends[i]);
        found = op ? op : found;
        if (op != NULL && op + 1 < plan->ops + plan->count && op[1].schema->side == SIDE_CONTAINER)
            refuse(op, "is not the container's last operation");
    }
    if (found == NULL)
        fail(LAUNCH, "plan", 0, NULL, "it executes nothing");
    if (op_is(found, OP_REST) && plan_find(plan, OP_SLOT) != NULL)
        refuse(found, "belongs to a guest");
}

void plan_check_run(const struct plan *plan)
{
    const struct op *streams = plan_find(plan, OP_STREAMS);

    check_all(plan);
    check_end(plan);
    if (streams != NULL && streams->args.streams.kind.u == 2 && plan_find(plan, OP_CONSOLE) == NULL)
        refuse(streams, "of a pseudo-terminal need console");
    if (plan_find(plan, OP_JOIN) != NULL)
        check_joins(plan);
    else
        check_makes(plan);
}

/* The second part of a plan: what is the container's own, and becomes the program. Nothing is mounted any more. */
void plan_check_rest(const struct plan *plan)
{
    static const uint16_t allowed[] = {OP_CONTENT,  OP_HOSTNAME, OP_DOMAINNAME,   OP_RLIMIT,            OP_OOM_SCORE_ADJ, OP_WORKING_DIRECTORY,
                                       OP_SECCOMP,  OP_BOUNDING, OP_USER,         OP_CAPABILITIES,      OP_NO_NEW_PRIVILEGES,
                                       OP_INIT,     OP_EXECUTE};

    check_all(plan);
    check_codes(plan, allowed, ARRAY_SIZE(allowed));
    check_end(plan);
}

/* Into the root: a mount namespace that is not the container's own keeps the root that it has. */
static const struct op *way_in(const struct plan *plan, bool makes)
{
    static const uint16_t ways[] = {OP_PIVOT, OP_MOVE_ROOT, OP_CHANGE_ROOT};
    const struct op *found = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        const struct op *op = plan_find(plan, ways[i]);
        if (op == NULL)
            continue;
        if (found != NULL || makes == op_is(op, OP_CHANGE_ROOT))
            refuse(op, "does not fit the mount namespace");
        found = op;
    }
    return found;
}

/* Either a container with a root of its own, which it enters once, or one more process of a container that runs. */
void plan_check_create(const struct plan *plan)
{
    static const uint16_t others[] = {OP_CLIENT, OP_LOG, OP_STATUS, OP_REPORT, OP_CONNECT, OP_OVERLAY, OP_VOLUME, OP_INIT, OP_MACHINE,
                                      OP_CONTAINER_ROOT, OP_CONTAINER_MOUNT, OP_UPPER_TREE, OP_GUARD, OP_BINFMT, OP_EVENTS,
                                      OP_JOIN, OP_MACHINE_EXECUTE, OP_REST};
    const struct op *namespaces = plan_find(plan, OP_NAMESPACES), *execute = plan_find(plan, OP_EXECUTE), *root = plan_find(plan, OP_ROOT);
    bool makes = namespaces != NULL && (namespaces->args.namespaces.flags.q & CLONE_NEWNS) != 0;
    const struct op *pivot = way_in(plan, makes);

    check_all(plan);
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        if (is_one_of(op, others, ARRAY_SIZE(others)))
            refuse(op, "does not belong here");
        if (is_of_the_root(op) && !(root == NULL && op_is(op, OP_CONSOLE)) && (root == NULL || op < root || op > pivot))
            refuse(op, "does not stand between root and pivot");
    }
    if (plan_find(plan, OP_CALLER) == NULL || namespaces == NULL || execute == NULL)
        fail(LAUNCH, "plan", 0, NULL, "it has no caller, no namespaces or no program");
    if (execute + 1 < plan->ops + plan->count)
        refuse(execute, "is not the last operation");
    if ((root != NULL) != (pivot != NULL) || (makes && root == NULL) || (root != NULL && plan_next(plan, root, OP_ROOT)))
        fail(LAUNCH, "plan", 0, NULL, "it needs one root, and one way into it");
    if (root == NULL && !joins_namespace(plan, CLONE_NEWNS) && plan_find(plan, OP_JOIN_ROOT) == NULL) /* it would be on the host's */
        fail(LAUNCH, "plan", 0, NULL, "one more process needs the container's mount namespace or its root");
    if ((plan_find(plan, OP_HOLD) == NULL) != (plan_find(plan, OP_LISTEN) == NULL))
        fail(LAUNCH, "plan", 0, NULL, "hold and listen belong together");
}
