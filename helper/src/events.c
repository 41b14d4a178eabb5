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

/*
 * A writer that was stopped must not hold the container up, least of all while its output passes here; without the lock a line may be
 * out of order, and is not lost.
 */
enum { TRIES = 200, TRIES_WHILE_IT_RUNS = 2, PAUSE_NS = 5000000 };

static bool is_current(int fd, int folder, const char *name)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == there.st_ino;
}

/* The file, locked, so that lines are in the order of their times; the engine may put another in its place (rotation). */
static int open_locked(int folder, const char *name, int tries)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    for (int i = 0;; i++) {
        int fd = openat(folder, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 || (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(fd, folder, name)) || i == tries)
            return fd;
        close(fd);
        nanosleep(&pause, NULL);
    }
}

/* `size` is the terminal's, as MESSAGE_SIZE has it. */
static void tell(const struct run *run, const struct op *op, const union value *text, uint32_t size, int tries)
{
    char line[16384];
    size_t length = 0;

    if (text->s.size == 0)
        return;
    autoclose fd = open_locked(run->plan->slots[op->args.events.slot.u].fd, op->args.events.name.s.data, tries);
    uint64_t now = clock_ns(CLOCK_REALTIME);
    for (const char *p = text->s.data; *p != '\0' && length < sizeof line - 32; p++) {
        if (*p == 1)
            length += (size_t)sprintf(line + length, "%" PRIu64, now / 1000000000u);
        else if (*p == 2)
            length += (size_t)sprintf(line + length, "%" PRIu64, now);
        else if (*p == 3)
            length += (size_t)sprintf(line + length, "%d", run->exit_code);
        else if (*p == 4 || *p == 5)
            length += (size_t)sprintf(line + length, "%u", *p == 4 ? size >> 16 : size & 0xffff);
        else
            line[length++] = *p;
    }
    line[length++] = '\n';
    (void)!write(fd, line, length); /* nobody waits for an event: what cannot be told is not told */
}

void events_started(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL)
        tell(run, op, &op->args.events.start, 0, TRIES);
}

void events_ended(const struct run *run, bool oom)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL && oom)
        tell(run, op, &op->args.events.oom, 0, TRIES);
    if (op != NULL)
        tell(run, op, &op->args.events.die, 0, TRIES);
}

void events_gone(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL)
        tell(run, op, &op->args.events.destroy, 0, TRIES);
}

void events_detached(const struct run *run)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL)
        tell(run, op, &op->args.events.detach, 0, TRIES_WHILE_IT_RUNS);
}

void events_resized(const struct run *run, uint32_t size)
{
    const struct op *op = plan_find(run->plan, OP_EVENTS);

    if (op != NULL)
        tell(run, op, &op->args.events.resize, size, TRIES_WHILE_IT_RUNS);
}
