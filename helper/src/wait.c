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

enum { RUNS, ENDED, NOT_OURS };

/* It stays a zombie: should the keeper be killed before it told, the monitor still finds it. */
static int ask_as_parent(struct run *run)
{
    siginfo_t info = {0};

    while (waitid((idtype_t)P_PIDFD, (id_t)run->program, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0)
        if (errno != EINTR)
            return NOT_OURS;
    if (info.si_pid == 0)
        return RUNS;
    set_status(run, info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f);
    return ENDED;
}

/* Also of a stranger's child, once its parent reaped it. */
static bool ask_kernel(struct run *run)
{
    struct pidfd_exit_info info = {.mask = INFO_EXIT};

    if (ioctl(run->program, GET_EXIT_INFO, &info) != 0 || (info.mask & INFO_EXIT) == 0)
        return false;
    set_status(run, info.exit_code);
    return true;
}

bool take_exit_status(struct run *run)
{
    /* A killed keeper closes its descriptors before its children get a new parent, and init(1) takes its time: two seconds. */
    for (int i = 0; i < 200; i++) {
        struct pollfd reaped = {.fd = run->program};
        int found = ask_as_parent(run);
        if (found != NOT_OURS)
            return found == ENDED;
        if (ask_kernel(run))
            return true;
        poll(&reaped, 1, 10);
    }
    return false;
}
