/* What control groups of version 2 have in the place of device lists: a program of the kernel's (bpf(2), struct bpf_cgroup_dev_ctx). It
 * lives as long as the group, or until the next container in the same group replaces it. */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "cgroup.h"
#include "failure.h"
#include "sys.h"

enum { MAX_PROGRAMS = 64 }; /* of one group: BPF_CGROUP_MAX_PROGS of the kernel */
static const char name[BPF_OBJ_NAME_LEN] = "estiba_devices";

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int load(const union value *program)
{
    union bpf_attr attributes = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE};

    attributes.insns = (uint64_t)(uintptr_t)program->b.data;
    attributes.insn_cnt = (uint32_t)(program->b.size / sizeof(struct bpf_insn));
    attributes.license = (uint64_t)(uintptr_t)"";
    memcpy(attributes.prog_name, name, sizeof name);
    return bpf(BPF_PROG_LOAD, &attributes);
}

static bool is_ours(int program)
{
    struct bpf_prog_info info = {0};
    union bpf_attr attributes = {.info = {.bpf_fd = (uint32_t)program, .info_len = sizeof info}};

    attributes.info.info = (uint64_t)(uintptr_t)&info;
    return bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes) == 0 && strncmp(info.name, name, sizeof name) == 0;
}

/* What a container that was in this group before has left, -1 where there is nothing. */
static int former(int cgroup)
{
    uint32_t ids[MAX_PROGRAMS];
    union bpf_attr query = {.query = {.target_fd = (uint32_t)cgroup, .attach_type = BPF_CGROUP_DEVICE, .prog_cnt = MAX_PROGRAMS}};

    query.query.prog_ids = (uint64_t)(uintptr_t)ids;
    if (bpf(BPF_PROG_QUERY, &query) != 0)
        return -1;
    for (uint32_t i = 0; i < query.query.prog_cnt; i++) {
        union bpf_attr attributes = {.prog_id = ids[i]};
        autoclose program = bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
        if (program >= 0 && is_ours(program))
            return keep_fd(&program);
    }
    return -1;
}

/* What is below may add programs of its own: all of them must allow. */
static int attach(int cgroup, int program)
{
    union bpf_attr attributes = {.target_fd = (uint32_t)cgroup};
    autoclose replaced = former(cgroup);

    attributes.attach_bpf_fd = (uint32_t)program;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = BPF_F_ALLOW_MULTI | (replaced >= 0 ? BPF_F_REPLACE : 0);
    attributes.replace_bpf_fd = replaced >= 0 ? (uint32_t)replaced : 0;
    return bpf(BPF_PROG_ATTACH, &attributes);
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
