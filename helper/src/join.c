/*
 * The way of a further process into a container that runs. Stages, and why in this order:
 *
 *   1. (container_main) die with the keeper; join the cgroups, while their names are the host's
 *   2. what the host alone gives: /dev/null, and oom_score_adj through the host's own procfs (hardening W3). A container that runs can
 *      have put anything at those paths
 *   3. no other descriptor of the host: from 4 on the container's processes may see this one (CVE-2024-21626). It stays not dumpable,
 *      so that they look neither into it nor through it
 *   4. all namespaces by setns(2) on the pidfd, so that they are one process's, whatever becomes of its number
 *   5. a process that is born in the PID namespace, as a child of the keeper; container_main goes on in it, when the keeper knows of it
 */
#define _GNU_SOURCE
#include <grp.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/vfs.h>

#include "base.h"
#include "container.h"
#include "resolve.h"
#include "sys.h"

static const char ended_hint[] = "the container may have ended";

static void take_from_host(struct container *self)
{
    const struct op *score = plan_find(self->plan, OP_OOM_SCORE_ADJ);

    self->null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
    self->host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self->null < 0 || self->host_proc < 0)
        fail(LAUNCH, "join", errno, NULL, "/dev/null and /proc of the host");
    if (score != NULL)
        op_oom_score_adj(self, score);
    close_fd(&self->host_proc);
}

/* A change of ids or namespaces clears both (prctl(2)). */
static void protect(void)
{
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        fail(LAUNCH, "join", errno, NULL, "the signal at the parent's death");
}

static _Noreturn void introduce(struct container *self, pid_t pid, int pidfd)
{
    struct message message = {.type = MESSAGE_JOINED, .number = (uint32_t)pid};
    struct descriptors descriptors = {.fds = {pidfd}, .count = 1};

    if (pid < 0)
        fail(LAUNCH, "join", errno, errno == ENOMEM ? ended_hint : NULL, "a process of the container");
    channel_send(self->keeper, &message, NULL, 0, &descriptors, 0);
    _exit(0);
}

/*
 * Layers that the keeper does not clone (`idmap`) are cloned in a copy of the host's mounts that belongs to the container's user namespace:
 * in the container's own mount namespace no path leads to them. Returns the namespaces that are left to join.
 */
static uint64_t clone_layers(struct container *self, int target, uint64_t flags)
{
    const struct op *overlay = plan_find(self->plan, OP_OVERLAY);
    uint32_t number = overlay ? overlay->args.overlay.layers.u : 0;

    if (overlay == NULL || self->plan->slots[number].idmap)
        return flags;
    if (((flags & CLONE_NEWUSER) && setns(target, CLONE_NEWUSER) != 0) || unshare(CLONE_NEWNS) != 0)
        fail(LAUNCH, "join", errno, errno == ESRCH ? ended_hint : NULL, "the container's user namespace");
    protect();
    open_slots(self);
    int tree = self->trees[number];
    self->trees[number] = clone_of(tree, self->plan->slots[number].path, 0);
    close(tree);
    return flags & ~(uint64_t)CLONE_NEWUSER;
}

void part_from_container(struct container *self)
{
    close_fd(&self->root);
    if (unshare(CLONE_NEWNS) != 0 || sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        fail(LAUNCH, "join", errno, NULL, "a mount namespace of its own");
    self->accounts = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self->accounts < 0)
        fail(LAUNCH, "join", errno, NULL, "the container's root");
    clone_container_mounts(self->plan, self->accounts);
    self->scratch = "/proc"; /* which every container has */
}

void join_container(struct container *self, const struct op *op)
{
    int target = self->plan->slots[op->args.join.pidfd.u].fd, pidfd = -1, kept[MAX_SLOTS + 3];
    struct clone_args args = {.flags = CLONE_PARENT | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd};

    self->joined = true;
    take_from_host(self);
    uint64_t flags = clone_layers(self, target, op->args.join.flags.q);
    memcpy(kept, self->trees, sizeof self->trees);
    memcpy(kept + MAX_SLOTS, (int[]){self->keeper, self->null, target}, 3 * sizeof *kept);
    if (close_all_but(kept, ARRAY_SIZE(kept)) != 0)
        fail(LAUNCH, "join", errno, NULL, "descriptors of the host");
    if (setns(target, (int)flags) != 0)
        fail(LAUNCH, "join", errno, errno == ESRCH ? ended_hint : NULL, "the container's namespaces");
    close(target);
    protect();
    pid_t pid = sys_clone3(&args);
    if (pid != 0)
        introduce(self, pid, pidfd);
    protect();
    self->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC); /* setns(2) has led there */
    if (self->root < 0)
        fail(LAUNCH, "join", errno, NULL, "the container's root");
}

void become_joined_root(struct container *self)
{
    /* EINVAL: the namespace maps no 0; then the program's own user is what counts. */
    if ((setresgid(0, 0, 0) != 0 && errno != EINVAL))
        fail(LAUNCH, "join", errno, NULL, "group 0");
    if (setgroups(0, NULL) != 0) {
        if (errno != EPERM)
            fail(LAUNCH, "join", errno, NULL, "no supplementary groups");
        self->groups_denied = true;
    }
    if (setresuid(0, 0, 0) != 0 && errno != EINVAL)
        fail(LAUNCH, "join", errno, NULL, "user 0");
}

int joined_devpts(const struct container *self)
{
    struct statfs fs;
    autoclose folder = resolve(self->root, "/dev/pts", O_PATH | O_DIRECTORY);

    if (folder < 0 || fstatfs(folder, &fs) != 0)
        return -1;
    if (fs.f_type != DEVPTS_SUPER_MAGIC) {
        errno = ENODEV;
        return -1;
    }
    return keep_fd(&folder);
}
