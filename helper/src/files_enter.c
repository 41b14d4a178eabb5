/*
 * The way into a container's files. Two cases:
 *
 *   running   `container_root`: its namespaces are joined, its root and mounts are cloned there, and the clones are put together
 *             again in a mount namespace of our own. What else is mounted in the container (proc, sysfs, devices) stays behind.
 *   stopped   `overlay`: the same mounts as at a start, in namespaces of our own.
 *
 * Order, and why:
 *   1. not dumpable, before anything of the container is held: its processes may share our pid namespace (--pid host)
 *   2. join, and clone: mounts can be cloned in their own mount namespace only
 *   3. namespaces of our own; nothing that is mounted from here on reaches the container
 *   4. root of the user namespace, so that files belong to its ids
 *   5. the tree, the pivot into it, and off with everything else
 */
#define _GNU_SOURCE
#include "files.h"

#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base.h"
#include "container.h"
#include "mounting.h"
#include "resolve.h"
#include "sys.h"

static struct container self;
static void join(const struct op *op)
{
    int pidfd = self.plan->slots[op->args.container_root.pidfd.u].fd;

    if (setns(pidfd, CLONE_NEWNS | (op->args.container_root.user.u ? CLONE_NEWUSER : 0)) != 0)
        fail(LAUNCH, "join", errno, NULL, "the container's namespaces");
    prctl(PR_SET_DUMPABLE, 0);
    autoclose root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        fail(LAUNCH, "join", errno, NULL, "the container's root");
    clone_container_mounts(self.plan, root);
    self.root = clone_of(root, "/", 0);
}

static void become_root(bool joined)
{
    /* In a user namespace with one id setgroups(2) is denied; the groups are the caller's own then. */
    if (setresgid(0, 0, 0) != 0 || (setgroups(0, NULL) != 0 && errno != EPERM) || setresuid(0, 0, 0) != 0)
        fail(LAUNCH, "user_namespace", errno, joined ? "the container may have ended" : NULL, "its root user");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0) /* a change of ids clears both (prctl(2)) */
        fail(LAUNCH, "files", errno, NULL, "the signal at the parent's death");
}

static void put_together(void)
{
    /* On the copy of the container's own root, which the pivot takes away. What is shared there is shared with the container. */
    if (sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || chdir("/") != 0 ||
        sys_move_mount(self.root, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) != 0)
        fail(LAUNCH, "join", errno, NULL, "the container's root");
    attach_container_mounts(self.plan, self.root);
}

static void carry_out(void)
{
    for (uint32_t i = 0; i < self.plan->count; i++) {
        const struct op *op = &self.plan->ops[i];
        if (op_is(op, OP_OVERLAY))
            op_overlay(&self, op);
        else if (op_is(op, OP_BIND))
            op_bind(&self, op);
        else if (op_is(op, OP_VOLUME))
            op_volume(&self, op);
        else if (op_is(op, OP_READONLY_ROOT))
            op_readonly_root(&self, op);
    }
}

static int open_upper(struct mount_attr *attributes)
{
    const struct op *op = plan_find(self.plan, OP_UPPER_TREE);

    if (op == NULL)
        return -1;
    autoclose tree = slot_mount(&self, op->args.upper_tree.slot.u, false);
    int folder = tree < 0 || sys_mount_setattr(tree, "", AT_EMPTY_PATH, attributes) != 0 ? -1 : openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        fail(LAUNCH, "upper_tree", errno, NULL, "the container's changes");
    return folder;
}

int files_enter(const struct plan *plan, bool read_only, void (*told)(void))
{
    const struct op *running = plan_find(plan, OP_CONTAINER_ROOT);
    bool new_user = plan_find(plan, OP_USER_NAMESPACE) != NULL;
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (read_only ? MOUNT_ATTR_RDONLY : 0)};

    self = (struct container){.plan = plan, .root = -1, .proc = -1, .devpts = -1, .mask = -1, .accounts = -1};
    memset(self.trees, -1, sizeof self.trees);
    if (running != NULL) {
        prctl(PR_SET_DUMPABLE, 0);
        join(running);
    }
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | (new_user ? CLONE_NEWUSER : 0)) != 0)
        fail(LAUNCH, new_user ? "user_namespace" : "namespaces", errno, NULL, "to look at the container's files");
    if (new_user)
        told();
    become_root(running != NULL);
    umask(0022);
    if (running != NULL) {
        put_together();
    } else {
        open_slots(&self);
        part_from_host(&self);
        carry_out();
    }
    int upper = open_upper(&attributes);
    pivot_into(self.root);
    if (sys_mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attributes) != 0)
        fail(LAUNCH, "files", errno, NULL, "the mounts' attributes");
    int kept[] = {upper};
    if (close_all_but(kept, 1) != 0)
        fail(LAUNCH, "files", errno, NULL, "descriptors of the host");
    jail_drop();
    umask(0);
    return upper;
}
