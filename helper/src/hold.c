/* Where the making of a bundle's container stands still: hooks (runtime-spec, config.md#posix-platform-hooks), and between `create`
 * and `start`. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base.h"
#include "channel.h"
#include "container.h"
#include "sys.h"

void op_ask(struct container *self, const struct op *op)
{
    struct message message;

    (void)op;
    if (channel_tell(self->keeper, MESSAGE_ASK, 0) != 0 || channel_receive(self->keeper, &message, NULL, 0, NULL, 0) < 0)
        _exit(EXIT_LAUNCH); /* the creator is gone, nobody to tell */
}

/* From now on whoever runs `start` is told of failures. */
static int accept_start(struct container *self)
{
    struct message message;
    struct pollfd waiting = {.fd = self->run->listener, .events = POLLIN};
    int fd;

    do {
        while (poll(&waiting, 1, -1) < 0)
            continue;
        fd = accept4(self->run->listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0);
    if (channel_receive(fd, &message, NULL, 0, NULL, 0) < 0 || message.type != MESSAGE_GO)
        _exit(EXIT_LAUNCH);
    return fd;
}

void op_hold(struct container *self, const struct op *op)
{
    struct message message = {.type = MESSAGE_EXECUTE};

    (void)op;
    check_program(self);
    place_streams(self);
    prctl(PR_SET_NAME, "estiba-init");
    prctl(PR_SET_PDEATHSIG, 0);
    channel_send(self->keeper, &message, NULL, 0, NULL, 0);
    close_fd(&self->keeper);
    self->keeper = accept_start(self);
    tell_failures_to(self->keeper);
    close_fd(&self->run->listener);
}

static _Noreturn void run_hook(const struct op *op, int input)
{
    if (dup2(input, STDIN_FILENO) < 0)
        _exit(127);
    execve(op->args.hook.path.s.data, list_vector(&op->args.hook.arguments, 0), list_vector(&op->args.hook.environment, 0));
    _exit(127);
}

/* A hook need not read its input, so its end of the pipe may be closed. */
static void write_state(const struct container *self, const struct op *op, int fd)
{
    char pid[16];
    int size = snprintf(pid, sizeof pid, "%u", self->pid);

    signal(SIGPIPE, SIG_IGN);
    (void)!(write_all(fd, op->args.hook.head.b.data, op->args.hook.head.b.size) == 0 && write_all(fd, pid, (size_t)size) == 0 &&
            write_all(fd, op->args.hook.tail.b.data, op->args.hook.tail.b.size) == 0);
    signal(SIGPIPE, SIG_DFL);
}

static int wait_for_hook(const struct op *op, pid_t pid)
{
    uint32_t seconds = op->args.hook.seconds.u;
    autoclose pidfd = sys_pidfd_open(pid);
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    int status;

    if (seconds > 0 && poll(&end, 1, (int)(seconds > 1000000 ? 1000000 : seconds) * 1000) == 0) {
        sys_pidfd_send_signal(pidfd, SIGKILL);
        waitpid(pid, NULL, 0);
        fail(LAUNCH, "hook", 0, NULL, "%s did not end within %u s", op->args.hook.path.s.data, seconds);
    }
    while (waitpid(pid, &status, 0) < 0)
        continue;
    return status;
}

void op_hook(struct container *self, const struct op *op)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        fail(LAUNCH, "hook", errno, NULL, "a pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail(LAUNCH, "hook", errno, NULL, "%s", op->args.hook.path.s.data);
    if (pid == 0)
        run_hook(op, ends[0]);
    close(ends[0]);
    write_state(self, op, ends[1]);
    close(ends[1]);
    int status = wait_for_hook(op, pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail(LAUNCH, "hook", 0, NULL, "%s ended with %s %d", op->args.hook.path.s.data, WIFEXITED(status) ? "status" : "signal",
             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}
