/* What happens to a container, as lines that the engine has written beforehand (op `events`): who sees it tells it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "run.h"

/* A writer that was stopped must not hold the container up; without the lock a line may be out of order, and is not lost. */
enum { TRIES = 200, PAUSE_NS = 5000000 };

static bool is_current(int fd, int folder, const char *name)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == there.st_ino;
}

/* The file, locked, so that lines are in the order of their times; the engine may put another in its place (rotation). */
static int open_locked(int folder, const char *name)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    for (int i = 0;; i++) {
        int fd = openat(folder, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 || (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(fd, folder, name)) || i == TRIES)
            return fd;
        close(fd);
        nanosleep(&pause, NULL);
    }
}

static void tell(const struct run *run, const struct op *op, const union value *text)
{
    char line[16384];
    size_t size = 0;

    if (text->s.size == 0)
        return;
    autoclose fd = open_locked(run->plan->slots[op->args.events.slot.u].fd, op->args.events.name.s.data);
    uint64_t now = clock_ns(CLOCK_REALTIME);
    for (const char *p = text->s.data; *p != '\0' && size < sizeof line - 32; p++) {
        if (*p == 1)
            size += (size_t)sprintf(line + size, "%" PRIu64, now / 1000000000u);
        else if (*p == 2)
            size += (size_t)sprintf(line + size, "%" PRIu64, now);
        else if (*p == 3)
            size += (size_t)sprintf(line + size, "%d", run->exit_code);
        else
            line[size++] = *p;
    }
    line[size++] = '\n';
    (void)!write(fd, line, size); /* nobody waits for an event: what cannot be told is not told */
}

void events_started(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL)
        tell(run, op, &op->args.events.start);
}

void events_ended(const struct run *run, bool oom)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL && oom)
        tell(run, op, &op->args.events.oom);
    if (op != NULL)
        tell(run, op, &op->args.events.die);
}

void events_gone(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL)
        tell(run, op, &op->args.events.destroy);
}
