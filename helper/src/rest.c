/*
 * A guest's plan in two parts: behind the first the guest may be parked, for hours, and go on in many copies. What a copy is given is in the
 * second. A guest that was just woken is a slow one: its emulator has translated nothing yet, so that each thing that is done for the first
 * time costs as much as a hundred later ones.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "container.h"

enum { MOST_WARM = 4 << 20, USUAL_PLAN = 16384 };

void op_held_file(struct container *self, const struct op *op)
{
    const char *path = op->args.held_file.path.s.data;
    int fd = self->held_count < MAX_HELD ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;

    if (fd < 0)
        fail(LAUNCH, "held_file", errno, NULL, "%s", path);
    self->held[self->held_count++] = fd;
}

void op_content(struct container *self, const struct op *op)
{
    const union value *content = &op->args.content.content;
    uint32_t number = op->args.content.number.u;

    if (number >= self->held_count || write_all(self->held[number], content->b.data, content->b.size) != 0)
        fail(LAUNCH, "content", errno, NULL, "of file %u", number);
}

static void warm(const char *path, bool interpreter)
{
    static char data[65536];
    struct stat status;
    uint16_t machine;
    autoclose fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = 1;

    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    for (off_t left = status.st_size < MOST_WARM ? status.st_size : MOST_WARM; left > 0 && n > 0; left -= n)
        n = read(fd, data, sizeof data);
    const char *found = interpreter ? interpreter_of(path, &machine) : NULL;
    if (found != NULL)
        warm(found, false);
}

void op_warm(struct container *self, const struct op *op)
{
    const char *position = NULL, *path;
    uint32_t index = 0;

    (void)self;
    while ((path = list_next(&op->args.warm.paths, &position, &index)) != NULL)
        warm(path, true);
}

void take_rest(struct container *self)
{
    static struct plan rest;
    static char usual[USUAL_PLAN];
    uint32_t size;

    if (self->run->rest < 0)
        fail(LAUNCH, "plan", 0, NULL, "nobody has the rest of it");
    if (write_all(self->run->rest, "", 1) != 0 || read_all(self->run->rest, &size, sizeof size) != (ssize_t)sizeof size)
        fail(LAUNCH, "plan", errno, NULL, "the rest of it");
    char *data = size <= sizeof usual ? usual : allocate(size);
    if (read_all(self->run->rest, data, size) != (ssize_t)size)
        fail(LAUNCH, "plan", errno, NULL, "the rest of it");
    close_fd(&self->run->rest);
    plan_decode(&rest, data, size, 1 << SIDE_CONTAINER);
    plan_check_rest(&rest);
    self->plan = &rest;
}
