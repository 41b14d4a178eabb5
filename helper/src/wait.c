/* How the program ended, for whoever of keeper and monitor is left. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "base.h"
#include "run.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* linux/pidfd.h since Linux 6.13, and PIDFD_INFO_EXIT since 6.15: the status also when another process reaped the program. */
struct pidfd_exit_info {
    uint64_t mask, cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};
#define GET_EXIT_INFO _IOWR(0xff, 11, struct pidfd_exit_info)
enum { INFO_EXIT = 1 << 3 };

static void set_status(struct run *run, int wait_status)
{
    run->exit_signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    run->exit_code = run->exit_signal ? 128 + run->exit_signal : WEXITSTATUS(wait_status);
}

bool take_exit_status(struct run *run)
{
    siginfo_t info = {0};
    struct pidfd_exit_info exit_info = {.mask = INFO_EXIT};

    while (waitid((idtype_t)P_PIDFD, (id_t)run->program, &info, WEXITED | WNOHANG | __WALL) != 0 && errno == EINTR)
        ;
    if (info.si_pid != 0) {
        set_status(run, info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f);
        return true;
    }
    if (ioctl(run->program, GET_EXIT_INFO, &exit_info) == 0 && (exit_info.mask & INFO_EXIT)) {
        set_status(run, exit_info.exit_code);
        return true;
    }
    return false;
}
