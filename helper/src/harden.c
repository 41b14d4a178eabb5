/* What monitor and keeper do not need for the rest of the container's life is given up (hardening S14). */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "run.h"
#include "sys.h"

/* Signals to the program and removal of its files, which belong to its user namespace's ids. */
static const uint32_t kept = 1u << CAP_KILL | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER;

void harden_watcher(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    struct rlimit none = {0, 0};

    /* Under memory pressure the program goes first; only who has CAP_SYS_RESOURCE may ask for it. */
    (void)write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "-999", 4);
    if (syscall(SYS_capget, &header, data) != 0)
        fail(LAUNCH, "harden", errno, NULL, "capget");
    data[0].permitted &= kept;
    data[0].effective = data[0].permitted;
    data[0].inheritable = data[1].inheritable = data[1].permitted = data[1].effective = 0;
    if (syscall(SYS_capset, &header, data) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        fail(LAUNCH, "harden", errno, NULL, "the watching processes");
}
