/* Capabilities (capabilities(7)), no_new_privs (prctl(2)) and the system-call filter (seccomp(2)). */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"
#include "container.h"

void op_bounding(struct container *self, const struct op *op)
{
    (void)self;
    for (int number = 0; number < 64; number++) {
        int held = prctl(PR_CAPBSET_READ, number, 0, 0, 0);
        if (held < 0) /* past the kernel's last capability */
            break;
        if (held == 1 && (op->args.bounding.capabilities.q >> number & 1) == 0 && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
            fail(LAUNCH, "bounding", errno, NULL, "capability %d", number);
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        fail(LAUNCH, "bounding", errno, NULL, "the ambient set");
}

static void set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    for (int i = 0; i < 2; i++)
        data[i] = (struct __user_cap_data_struct){
            .effective = (uint32_t)(effective >> 32 * i),
            .permitted = (uint32_t)(permitted >> 32 * i),
            .inheritable = (uint32_t)(inheritable >> 32 * i),
        };
    if (syscall(SYS_capset, &header, data) != 0)
        fail(LAUNCH, "capabilities", errno, NULL, "of the program");
}

void op_capabilities(struct container *self, const struct op *op)
{
    uint64_t ambient = op->args.capabilities.ambient.q;
    /* The change of user has taken everything from who is not root, as execve(2) would. */
    uint64_t mask = self->uid == 0 ? ~(uint64_t)0 : ambient;

    set_capabilities(op->args.capabilities.effective.q & mask, op->args.capabilities.permitted.q & mask,
                     op->args.capabilities.inheritable.q);
    for (int number = 0; number < 64; number++)
        if ((ambient >> number & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) != 0)
            fail(LAUNCH, "capabilities", errno, NULL, "ambient capability %d", number);
}

void op_no_new_privileges(struct container *self, const struct op *op)
{
    (void)self, (void)op;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fail(LAUNCH, "no_new_privileges", errno, NULL, "for the program");
}

void op_seccomp(struct container *self, const struct op *op)
{
    uint32_t size = op->args.seccomp.filter.b.size;
    struct sock_fprog program = {.len = (unsigned short)(size / sizeof(struct sock_filter)), .filter = allocate(size)};

    (void)self;
    if (size == 0 || size % sizeof(struct sock_filter) != 0 || size / sizeof(struct sock_filter) > BPF_MAXINSNS)
        fail(LAUNCH, "seccomp", EINVAL, NULL, "a filter of %u bytes", size);
    memcpy(program.filter, op->args.seccomp.filter.b.data, size);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)op->args.seccomp.flags.q, &program) != 0)
        fail(LAUNCH, "seccomp", errno, NULL, "a filter of %u instructions", (unsigned)program.len);
}
