/* Programs of other machines: the container's user namespace gets a table of its own (binfmt_misc of Linux 6.7), and the host's stays. */
#define _GNU_SOURCE
#include "base.h"
#include "container.h"
#include "mounting.h"
#include "sys.h"

static const char hint[] = "Linux 6.7 is the first in which a user namespace has a binfmt_misc of its own";

static int new_table(void)
{
    autoclose fs = sys_fsopen("binfmt_misc", FSOPEN_CLOEXEC);

    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", "binfmt_misc", 0) != 0 ||
        sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        fail(LAUNCH, "binfmt", errno, hint, "a table of the container's own");
    return sys_fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* The rule's relative interpreter is found in the working directory. That is a read-only clone: /proc/PID/exe of each emulated program
 * leads to the interpreter, and must not be a way to write it. */
static void enter_interpreters(struct container *self, uint32_t slot)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    autoclose clone = slot_mount(self, slot, false);

    if (clone < 0 || sys_mount_setattr(clone, "", AT_EMPTY_PATH, &attributes) != 0 || fchdir(clone) != 0)
        fail(LAUNCH, "binfmt", errno, NULL, "%s", self->plan->slots[slot].path);
}

void op_binfmt(struct container *self, const struct op *op)
{
    const union value *rule = &op->args.binfmt.rule;
    autoclose table = new_table();
    autoclose control = openat(table, "register", O_WRONLY | O_CLOEXEC);

    enter_interpreters(self, op->args.binfmt.slot.u);
    if (control < 0 || write(control, rule->s.data, rule->s.size) != (ssize_t)rule->s.size)
        fail(LAUNCH, "binfmt", errno, NULL, "the interpreter of %s", self->plan->slots[op->args.binfmt.slot.u].path);
    if (chdir("/") != 0)
        fail(LAUNCH, "binfmt", errno, NULL, "/");
    /* The table is as old as its mount. */
    autoclose target = openat(self->proc, "sys/fs/binfmt_misc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0)
        fail(LAUNCH, "binfmt", errno, NULL, "/proc/sys/fs/binfmt_misc");
    attach("binfmt", table, target, "/proc/sys/fs/binfmt_misc");
}
