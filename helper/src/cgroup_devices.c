/* What control groups of version 2 have in the place of device lists: a program of the kernel's (Documentation/bpf/prog_cgroup_sysctl.rst
 * has the like of it; the context is struct bpf_cgroup_dev_ctx). It lives as long as the group. */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "cgroup.h"
#include "failure.h"
#include "sys.h"

static int load(const union value *program)
{
    union bpf_attr attributes;

    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uint64_t)(uintptr_t)program->b.data;
    attributes.insn_cnt = (uint32_t)(program->b.size / sizeof(struct bpf_insn));
    attributes.license = (uint64_t)(uintptr_t)"";
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
}

/* What is below may add programs of its own: all of them must allow. */
static int attach(int cgroup, int program)
{
    union bpf_attr attributes;

    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)cgroup;
    attributes.attach_bpf_fd = (uint32_t)program;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    return (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes);
}

void limit_devices(const struct plan *plan)
{
    for (const struct op *op = plan_find(plan, OP_CGROUP_DEVICES); op != NULL; op = plan_next(plan, op, OP_CGROUP_DEVICES)) {
        const struct slot *slot = &plan->slots[op->args.cgroup_devices.slot.u];
        autoclose program = load(&op->args.cgroup_devices.program);
        if (program < 0 || attach(slot->fd, program) != 0)
            fail(LAUNCH, "cgroup_devices", errno, NULL, "rules of devices for %s", slot->path[0] ? slot->path : "the cgroup");
    }
}
