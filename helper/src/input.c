#define _GNU_SOURCE
#include "input.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base.h"

int input_level(const struct run *run)
{
    int level = 0;

    ioctl(run->input_stage[0], FIONREAD, &level);
    return level;
}

static size_t stage(struct run *run, const char *data, size_t size)
{
    ssize_t n;

    do
        n = write(run->input_stage[1], data, size);
    while (n < 0 && errno == EINTR);
    return n > 0 ? (size_t)n : 0;
}

size_t input_stage(struct run *run, unsigned client, const char *data, size_t size, uint64_t offset)
{
    struct input_progress *progress = &run->shared->input;

    progress->client = (uint8_t)client;
    progress->before = offset;
    progress->level = input_level(run);
    atomic_thread_fence(memory_order_seq_cst);
    progress->staging = true;
    atomic_thread_fence(memory_order_seq_cst);
    size_t staged = stage(run, data, size);
    progress->taken[client] = offset + staged;
    atomic_thread_fence(memory_order_seq_cst);
    progress->staging = false;
    return staged;
}

void input_resume(struct run *run)
{
    struct input_progress *progress = &run->shared->input;

    if (progress->staging)
        progress->taken[progress->client] = progress->before + (uint64_t)(input_level(run) - progress->level);
    progress->staging = false;
}

/* Throws the stage's content away: the program closed its end. */
static void drop(struct run *run)
{
    char data[4096];

    while (read(run->input_stage[0], data, sizeof data) > 0)
        ;
}

bool input_move(struct run *run)
{
    if (run->input < 0) {
        drop(run);
        return false;
    }
    ssize_t n = splice(run->input_stage[0], NULL, run->input, NULL, 65536, SPLICE_F_NONBLOCK);
    if (n >= 0 || errno == EAGAIN || errno == EINTR)
        return true;
    drop(run);
    return false;
}
