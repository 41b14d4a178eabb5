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

void input_stage(struct run *run, const char *data, size_t size, uint64_t offset, bool counted, bool resumed)
{
    struct shared *shared = run->shared;

    if (counted) {
        if (resumed && offset + size == shared->input_taken && input_level(run) != shared->input_level)
            return; /* it was staged, and only its message was not consumed yet */
        shared->input_level = input_level(run);
        atomic_thread_fence(memory_order_seq_cst);
        shared->input_taken = offset + size;
        atomic_thread_fence(memory_order_seq_cst);
    }
    (void)!write_all(run->input_stage[1], data, size);
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
