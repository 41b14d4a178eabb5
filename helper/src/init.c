/* `--init`: PID 1 that reaps what is orphaned and forwards signals, with the program as its child. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "container.h"
#include "failure.h"
#include "sys.h"

/* The signals that say something about PID 1 itself, not about what it was asked to do. */
static bool is_own(int number)
{
    return number == SIGCHLD || number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE || number == SIGTRAP ||
           number == SIGABRT || number == SIGSYS;
}

/* Reaps all that is dead; ends with the program's status when the program is among it. */
static void reap(pid_t program)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == program)
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static _Noreturn void watch(pid_t program, const sigset_t *all)
{
    for (;;) {
        int number = sigwaitinfo(all, NULL);
        if (number == SIGCHLD)
            reap(program);
        else if (number > 0 && !is_own(number))
            kill(program, number);
    }
}

void start_under_init(struct container *self)
{
    sigset_t all, none;

    (void)self;
    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &all, NULL);
    pid_t program = fork();
    if (program < 0)
        fail(LAUNCH, "init", errno, NULL, "the program's process");
    if (program > 0) {
        prctl(PR_SET_NAME, "estiba-init");
        sys_close_range(0, ~0U, 0); /* the streams end with the program, and the keeper sees it execute */
        watch(program, &all);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid(); /* a terminal becomes this session's */
}
