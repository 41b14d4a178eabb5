#define _GNU_SOURCE
#include "cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "sys.h"

/*
 * Writing a pid to cgroup.procs waits for an RCU grace period, 5 to 15 ms (the write side of cgroup_threadgroup_rwsem). A thread
 * that moves itself alone does not (cgroup_procs_write_start() in the kernel), and a process of one thread is moved by that, by
 * version 1's file `tasks`. In version 2 the process is born there instead (CLONE_INTO_CGROUP, clone3(2)).
 */
static int tasks[MAX_SLOTS];
static unsigned count;

int open_cgroups(const struct plan *plan)
{
    int into = -1;

    for (const struct op *op = plan_find(plan, OP_CGROUP); op != NULL; op = plan_next(plan, op, OP_CGROUP)) {
        const struct slot *slot = &plan->slots[op->args.cgroup.slot.u];
        int fd = openat(slot->fd, "tasks", O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && count < MAX_SLOTS)
            tasks[count++] = fd;
        else if (fd < 0 && errno == ENOENT && into < 0)
            into = slot->fd;
        else
            fail(LAUNCH, "cgroup", errno, NULL, "%s", slot->path[0] ? slot->path : "tasks");
    }
    return into;
}

void join_cgroups(void)
{
    for (unsigned i = 0; i < count; i++)
        if (write(tasks[i], "0", 1) != 1)
            fail(LAUNCH, "cgroup", errno, NULL, "tasks");
}

void close_cgroups(void)
{
    while (count > 0)
        close(tasks[--count]);
}

/* The number behind `oom_kill ` in a file of lines `key value`, 0 when the file is not there. */
static unsigned long oom_kills(int directory, const char *name)
{
    char text[1024];
    autoclose fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);

    if (size <= 0)
        return 0;
    text[size] = '\0';
    for (const char *line = text; line != NULL; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, "oom_kill ", 9) == 0)
            return strtoul(line + 9, NULL, 10);
    return 0;
}

bool cgroups_had_oom(const struct plan *plan)
{
    for (const struct op *op = plan_find(plan, OP_CGROUP); op != NULL; op = plan_next(plan, op, OP_CGROUP)) {
        int directory = plan->slots[op->args.cgroup.slot.u].fd;
        if (oom_kills(directory, "memory.events") > 0 || oom_kills(directory, "memory.oom_control") > 0)
            return true;
    }
    return false;
}

enum { MEMBERS = 512 };

/* The first processes of a cgroup. */
static size_t members(int cgroup, pid_t pids[MEMBERS])
{
    char text[8 * MEMBERS];
    autoclose fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);
    size_t found = 0;

    text[size > 0 ? size : 0] = '\0';
    for (char *next = text, *end; found < MEMBERS && *next != '\0'; next = end + (*end == '\n')) {
        pids[found] = (pid_t)strtol(next, &end, 10);
        if (end == next || *end != '\n') /* the last one may be cut short */
            break;
        found += pids[found] > 1;
    }
    return found;
}

/* Kills the processes of a cgroup that has no cgroup.kill (v1). Each by a pidfd that is opened before its membership is looked at again:
 * a number that was given to another process meanwhile is never signalled. */
static void kill_members(int cgroup)
{
    pid_t pids[MEMBERS], again[MEMBERS];
    int pidfds[MEMBERS];
    size_t found = members(cgroup, pids);

    for (size_t i = 0; i < found; i++)
        pidfds[i] = sys_pidfd_open(pids[i]);
    size_t left = members(cgroup, again);
    for (size_t i = 0; i < found; i++) {
        for (size_t j = 0; j < left && pidfds[i] >= 0; j++)
            if (again[j] == pids[i])
                sys_pidfd_send_signal(pidfds[i], SIGKILL);
        close_fd(&pidfds[i]);
    }
}

bool remove_cgroup(int directory, const char *name)
{
    autoclose cgroup = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (cgroup < 0)
        return errno == ENOENT;
    /* A second for the last processes to be gone; what then is left is recorded and swept by the next command. */
    for (int i = 0; i < 100; i++) {
        struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        if (unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return true;
        if (errno != EBUSY)
            return false;
        if (write_file_at(cgroup, "cgroup.kill", "1", 1) != 0) {
            (void)write_file_at(cgroup, "freezer.state", "THAWED", 6); /* what it holds does not even die (v1) */
            kill_members(cgroup);
        }
        nanosleep(&pause, NULL);
    }
    return false;
}

void leave_cgroup(int directory, const char *name)
{
    struct stat status;

    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_uid == geteuid())
        (void)unlinkat(directory, name, AT_REMOVEDIR); /* EBUSY while another container's group is below it */
}
