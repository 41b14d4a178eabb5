#define _GNU_SOURCE
#include "cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"

void join_cgroups(const struct plan *plan, pid_t pid)
{
    char text[16];
    int size = snprintf(text, sizeof text, "%d", (int)pid);

    for (const struct op *op = plan_find(plan, OP_CGROUP); op != NULL; op = plan_next(plan, op, OP_CGROUP)) {
        const struct slot *slot = &plan->slots[op->args.cgroup.slot.u];
        if (write_file_at(slot->fd, "cgroup.procs", text, (size_t)size) != 0)
            fail(LAUNCH, "cgroup", errno, NULL, "%s", slot->path[0] ? slot->path : "cgroup.procs");
    }
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

/* Kills the processes of a cgroup that has no cgroup.kill (v1). The group is the container's own, nothing else is in it. */
static bool kill_members(int cgroup)
{
    char text[4096];
    autoclose fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);
    bool any = false;

    if (size <= 0)
        return false;
    text[size] = '\0';
    for (char *next = text, *end; *next != '\0'; next = end + (*end == '\n')) {
        long pid = strtol(next, &end, 10);
        if (end == next)
            break;
        if (pid > 1) {
            kill((pid_t)pid, SIGKILL);
            any = true;
        }
    }
    return any;
}

void remove_cgroup(int directory, const char *name)
{
    autoclose cgroup = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (cgroup < 0)
        return;
    /* A second for the last processes to be gone; what then is left is recorded and swept by the next command. */
    for (int i = 0; i < 100; i++) {
        struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        if (unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno != EBUSY)
            return;
        if (write_file_at(cgroup, "cgroup.kill", "1", 1) != 0)
            kill_members(cgroup);
        nanosleep(&pause, NULL);
    }
}
