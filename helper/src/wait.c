/* How the program ended, for whoever of keeper and monitor is left. */
#define _GNU_SOURCE
#include <poll.h>
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

/* Another process is its parent, and the status is known once that reaped it: POLLHUP of the pidfd. */
static bool ask_kernel(struct run *run)
{
    for (int i = 0; i < 200; i++) {
        struct pidfd_exit_info info = {.mask = INFO_EXIT};
        struct pollfd reaped = {.fd = run->program};
        if (ioctl(run->program, GET_EXIT_INFO, &info) != 0 && errno != ESRCH)
            return false;
        if (info.mask & INFO_EXIT) {
            set_status(run, info.exit_code);
            return true;
        }
        poll(&reaped, 1, 10);
    }
    return false;
}

bool take_exit_status(struct run *run)
{
    siginfo_t info = {0};

    /* It stays a zombie: should the keeper be killed before it told, the monitor still finds it. */
    while (waitid((idtype_t)P_PIDFD, (id_t)run->program, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0)
        if (errno != EINTR)
            return ask_kernel(run);
    if (info.si_pid == 0)
        return false;
    set_status(run, info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f);
    return true;
}
