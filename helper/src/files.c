/*
 * estiba-init files, files-write: records about a container's files, carried out in a jail that sees these files and nothing else.
 * Nothing of the container is run or loaded, and no link leads out: the jail's root is the container's. Its processes may change
 * everything at any moment; so each record works on descriptors.
 *
 *   parent  writes the id maps of a new user namespace, holds the descriptors of slots that are only locks, ends the child when nobody
 *           reads its answers any more: it may wait for a file system that the container serves itself (FUSE)
 *   child   the jail
 */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "idmap.h"
#include "sys.h"

static int to_parent[2], to_child[2];

static void print_failure(const char *record, size_t size)
{
    (void)!write_all(STDERR_FILENO, record, size);
}

/* The child's side of a new user namespace. */
static void wait_for_maps(void)
{
    char go;

    if (write_all(to_parent[1], "", 1) != 0 || read_all(to_child[0], &go, 1) != 1)
        _exit(EXIT_LAUNCH); /* the parent has said why */
}

static int work(bool read_only, int upper)
{
    static struct tree trees[TREES];
    struct op op;

    trees[0].root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    trees[1].root = upper;
    for (size_t i = 0; i < TREES; i++)
        trees[i].base = (struct parent){.root = trees[i].root, .fd = -1, .mounts = true};
    record_open(STDERR_FILENO);
    const int allowed[TREES] = {trees[0].root, trees[1].root};
    jail_lock(allowed, upper < 0 ? 1 : 2, read_only, read_only ? 0 : ~(uint64_t)0);
    for (;;) {
        if (!record_waiting())
            answer_flush(); /* the other side may wait for these answers before it asks again */
        if (!record_next(&op))
            break;
        if (!files_ask(trees, &op) && (read_only || !files_make(&trees[0], &op)))
            jail_fail(STDERR_FILENO, "input", EPROTO, "");
    }
    answer_flush();
    return files_are_complete() ? 0 : 1;
}

static _Noreturn void child(const struct plan *plan, bool read_only)
{
    prctl(PR_SET_NAME, "estiba-files");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        fail(LAUNCH, "files", errno, NULL, "the signal at the parent's death");
    close(to_parent[0]);
    close(to_child[1]);
    int upper = files_enter(plan, read_only, wait_for_maps);
    _exit(work(read_only, upper));
}

static void write_maps(const struct plan *plan, pid_t pid)
{
    const struct op *user = plan_find(plan, OP_USER_NAMESPACE);
    char ready;

    if (user != NULL && read_all(to_parent[0], &ready, 1) == 1) {
        write_id_maps(user, pid);
        (void)!write_all(to_child[1], "", 1);
    }
    close(to_parent[0]);
    close(to_child[1]);
}

/* Waits for the child; its standard input is not held, so that both see its end. */
static int wait_for_child(int pidfd, pid_t pid)
{
    struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = STDOUT_FILENO}};
    int status;

    close(STDIN_FILENO);
    while (poll(fds, 2, -1) < 0 || fds[0].revents == 0) {
        if (fds[1].revents & POLLERR) {
            sys_pidfd_send_signal(pidfd, SIGKILL);
            fds[1].fd = -1;
        }
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void close_others(const struct plan *plan)
{
    int fds[MAX_SLOTS];

    for (size_t i = 0; i < MAX_SLOTS; i++)
        fds[i] = plan->slots[i].fd;
    if (close_all_but(fds, MAX_SLOTS) != 0)
        fail(LAUNCH, "close_range", errno, NULL, "of the inherited descriptors");
}

static int run_jail(const struct plan *plan, bool read_only)
{
    set_failure_sink(print_failure);
    plan_check_files(plan);
    close_others(plan);
    signal(SIGPIPE, SIG_IGN);
    if (pipe2(to_parent, O_CLOEXEC) != 0 || pipe2(to_child, O_CLOEXEC) != 0)
        fail(LAUNCH, "files", errno, NULL, "a pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail(LAUNCH, "files", errno, NULL, "a process");
    if (pid == 0)
        child(plan, read_only);
    close(to_parent[1]);
    close(to_child[0]);
    int pidfd = sys_pidfd_open(pid);
    if (pidfd < 0)
        fail(LAUNCH, "files", errno, NULL, "a descriptor of a process");
    write_maps(plan, pid);
    return wait_for_child(pidfd, pid);
}

int files_main(const struct plan *plan)
{
    return run_jail(plan, true);
}

int files_write_main(const struct plan *plan)
{
    return run_jail(plan, false);
}
