/*
 * The container's first process from the clone to execve(2). Stages, and why in this order:
 *
 *   1. die with the keeper, until the program runs: a half-made container has no owner; join the cgroups, still as the caller
 *   2. wait until the keeper wrote the id maps and sends the idmapped clones
 *   3. not dumpable any more (hardening W4), and only then the first file of the container is touched
 *   4. the cgroup namespace, whose root is the cgroup joined in 1
 *   5. root of the user namespace: files that are made belong to it; a session keyring of its own
 *   6. mounts do not travel back to the host
 *   7. slots that were not cloned are opened again in this mount namespace, before anything can hide their paths
 *   8. the plan's operations
 *
 * With `join` the namespaces are there already: between 1 and 2 join.c leads into them, and 4, 6 and 7 have no object.
 */
#define _GNU_SOURCE
#include "container.h"

#include <grp.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <string.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base.h"
#include "cgroup.h"
#include "mounting.h"
#include "sys.h"

static int keeper_connection = -1;

static void report_to_keeper(const char *record, size_t size)
{
    struct message message = {.type = MESSAGE_FAILED};
    channel_send(keeper_connection, &message, record, size, NULL, 0);
}

void tell_failures_to(int connection)
{
    keeper_connection = connection;
}

static const struct {
    uint16_t code;
    void (*carry_out)(struct container *self, const struct op *op);
} operations[] = {
    {OP_OVERLAY, op_overlay},
    {OP_ROOT, op_root},
    {OP_MOUNT, op_mount},
    {OP_BIND, op_bind},
    {OP_HOST_BIND, op_host_bind},
    {OP_DIRECTORY, op_directory},
    {OP_SYMLINK, op_symlink},
    {OP_FILE, op_file},
    {OP_CONSOLE, op_console},
    {OP_MASK, op_mask},
    {OP_READONLY, op_readonly},
    {OP_READONLY_ROOT, op_readonly_root},
    {OP_VOLUME, op_volume},
    {OP_HOSTNAME, op_hostname},
    {OP_DOMAINNAME, op_domainname},
    {OP_LOOPBACK, op_loopback},
    {OP_SYSCTL, op_sysctl},
    {OP_BINFMT, op_binfmt},
    {OP_PIVOT, op_pivot},
    {OP_RLIMIT, op_rlimit},
    {OP_OOM_SCORE_ADJ, op_oom_score_adj},
    {OP_BOUNDING, op_bounding},
    {OP_USER, op_user},
    {OP_CAPABILITIES, op_capabilities},
    {OP_NO_NEW_PRIVILEGES, op_no_new_privileges},
    {OP_SECCOMP, op_seccomp},
    {OP_WORKING_DIRECTORY, op_working_directory},
    {OP_FILE_SYSTEM, op_file_system},
    {OP_TREE, op_tree},
    {OP_ATTRIBUTES, op_attributes},
    {OP_DEVICE, op_device},
    {OP_PROPAGATION, op_propagation},
    {OP_MOVE_ROOT, op_move_root},
    {OP_CHANGE_ROOT, op_change_root},
    {OP_ASK, op_ask},
    {OP_HOLD, op_hold},
    {OP_HOOK, op_hook},
    {OP_HELD_FILE, op_held_file},
    {OP_CONTENT, op_content},
    {OP_WARM, op_warm},
};

static void carry_out(struct container *self, const struct op *op)
{
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        if (operations[i].code == op->schema->code) {
            trace(op->schema->name);
            operations[i].carry_out(self, op);
            return;
        }
    }
    fail(LAUNCH, "plan", 0, NULL, "%s cannot be carried out here", op->schema->name);
}

static void wait_for_keeper(struct container *self)
{
    static struct descriptors clones;
    struct message message;
    size_t next = 0;

    if (channel_receive(self->keeper, &message, NULL, 0, &clones, 0) < 0)
        _exit(EXIT_LAUNCH); /* the keeper is gone, nobody to tell */
    self->pid = message.number;
    for (size_t i = 0; i < MAX_SLOTS; i++) {
        if (!self->plan->slots[i].idmap)
            continue;
        if (next == clones.count) /* the kernel hands over as many as RLIMIT_NOFILE leaves room for */
            fail(LAUNCH, "idmap", EMFILE, NULL, "slot %zu", i);
        self->trees[i] = clones.fds[next++];
    }
}

static void reset_signals(void)
{
    /* The kernel's structure, zero: the default action. The library's signal(3) refuses the numbers that it keeps for itself. */
    static const unsigned long defaults[4];
    sigset_t none;

    /* Python ignores SIGPIPE, and ignored signals outlive execve(2). SIGKILL and SIGSTOP are refused, and never ignored. */
    for (int number = 1; number <= SIGRTMAX; number++)
        (void)syscall(SYS_rt_sigaction, number, defaults, NULL, 8);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool maps_root(const union value *map)
{
    const char *position = NULL, *line;
    uint32_t index = 0;

    while ((line = list_next(map, &position, &index)) != NULL)
        if (strncmp(line, "0 ", 2) == 0)
            return true;
    return false;
}

/* The ids of the caller may have no name here: new files would have no owner (EOVERFLOW). */
static void become_root(struct container *self)
{
    const struct op *user = plan_find(self->plan, OP_USER_NAMESPACE);

    if ((namespaces_of(self->plan) & CLONE_NEWUSER) || joins_namespace(self->plan, CLONE_NEWUSER))
        become_joined_root(self);
    if (user == NULL)
        return;
    self->groups_denied = user->args.user_namespace.setgroups.u == 0;
    if (maps_root(&user->args.user_namespace.gid_map) && setresgid(0, 0, 0) != 0)
        fail(LAUNCH, "user_namespace", errno, NULL, "group 0");
    if (!self->groups_denied && setgroups(0, NULL) != 0)
        fail(LAUNCH, "user_namespace", errno, NULL, "no supplementary groups");
    if (maps_root(&user->args.user_namespace.uid_map) && setresuid(0, 0, 0) != 0)
        fail(LAUNCH, "user_namespace", errno, NULL, "user 0");
}

/* A session keyring outlives changes of ids and namespaces, and who has it may read the caller's keys (session-keyring(7)).
 * EPERM comes from a filter that the program inherits too. */
static void leave_keyring(const struct plan *plan)
{
    const struct op *caller = plan_find(plan, OP_CALLER);

    if (caller != NULL && caller->args.caller.keyring.u == 0)
        return;
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS && errno != EPERM)
        fail(LAUNCH, "keyring", errno, NULL, "of the session");
}

static void open_host(struct container *self)
{
    self->host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    self->null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (self->null < 0)
        fail(LAUNCH, "streams", errno, NULL, "/dev/null");
}

void part_from_host(struct container *self)
{
    static const char *const folders[] = {"/tmp", "/run", "/mnt", "/proc"};
    const struct op *root = plan_find(self->plan, OP_PROPAGATION);
    struct stat status;

    open_host(self);
    self->shares = root != NULL && (root->args.propagation.flags.q & MS_SHARED) != 0;
    if (!self->shares && sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        fail(LAUNCH, "namespaces", errno, NULL, "mount propagation of /");
    /* A mount of its own everywhere: the container's root is put there, and the host must not see it. */
    self->scratch = self->shares ? "/proc" : NULL;
    if (self->shares && sys_mount(NULL, self->scratch, NULL, MS_PRIVATE, NULL) != 0)
        fail(LAUNCH, "namespaces", errno, NULL, "mount propagation of %s", self->scratch);
    for (size_t i = 0; self->scratch == NULL && i < ARRAY_SIZE(folders); i++)
        if (stat(folders[i], &status) == 0 && S_ISDIR(status.st_mode))
            self->scratch = folders[i];
    if (self->scratch == NULL)
        fail(LAUNCH, "namespaces", ENOENT, NULL, "no folder /tmp, /run or /mnt to mount on");
}

/* The mount namespace is not the container's alone: nothing in it is changed but what is below the container's root. */
static void borrow_mounts(struct container *self)
{
    open_host(self);
    self->borrows = true;
}

/* The mount namespace is another container's: its root is ours, and nothing in it is changed. */
static void enter_mounts(struct container *self)
{
    let_go_of_host(self);
    self->joined = true;
    self->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    self->host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self->root < 0)
        fail(LAUNCH, "namespaces", errno, NULL, "the root of the container");
}

/* Returns where the rest of the plan is to be waited for. */
static void carry_out_plan(struct container *self, bool joins)
{
    for (uint32_t i = 0; i < self->plan->count; i++) {
        const struct op *op = &self->plan->ops[i];
        if (op->schema->side != SIDE_CONTAINER)
            continue;
        if (op_is(op, OP_INIT))
            self->init = true;
        else if (joins && op_is(op, OP_OOM_SCORE_ADJ))
            continue; /* join.c did it before the container's procfs was all there is */
        else if (op_is(op, OP_CONTAINER_MOUNT))
            continue; /* with the root, below */
        else if (op_is(op, OP_EXECUTE))
            op_execute(self, op);
        else if (op_is(op, OP_MACHINE))
            op_machine(self, op);
        else if (op_is(op, OP_MACHINE_EXECUTE))
            op_machine_execute(self, op);
        else if (op_is(op, OP_REST))
            return;
        else
            carry_out(self, op);
        if (joins && op_is(op, OP_OVERLAY))
            attach_container_mounts(self->plan, self->root);
    }
}

void container_main(struct run *run, int connection)
{
    static struct container self;
    const struct op *join = plan_find(run->plan, OP_JOIN);

    self = (struct container){.run = run, .plan = run->plan, .keeper = connection, .root = -1, .proc = -1, .devpts = -1,
                              .mask = -1, .accounts = -1, .streams = {-1, -1, -1}};
    memset(self.trees, -1, sizeof self.trees);
    keeper_connection = connection;
    set_failure_sink(report_to_keeper);
    close_fd(&run->monitor);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    join_cgroups();
    close_cgroups();
    if (join != NULL)
        join_container(&self, join);
    wait_for_keeper(&self);
    prctl(PR_SET_DUMPABLE, 0);
    trace("child");
    reset_signals();
    setsid();
    if (join == NULL && (namespaces_of(run->plan) & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) != 0)
        fail(LAUNCH, "namespaces", errno, NULL, "of cgroups");
    become_root(&self);
    leave_keyring(self.plan);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of ids clears it (prctl(2)) */
    prctl(PR_SET_DUMPABLE, 0);
    umask(0022);
    if (join == NULL) {
        open_slots(&self);
        if (plan_find(run->plan, OP_CHANGE_ROOT) != NULL)
            borrow_mounts(&self);
        else if (plan_find(run->plan, OP_CALLER) == NULL || plan_find(run->plan, OP_ROOT) != NULL)
            part_from_host(&self);
        else
            enter_mounts(&self);
    } else if (plan_find(run->plan, OP_OVERLAY) != NULL) {
        part_from_container(&self);
    }
    make_streams(&self);
    for (;;) {
        carry_out_plan(&self, join != NULL);
        take_rest(&self);
    }
}
