#define _GNU_SOURCE
#include "stream.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base.h"
#include "channel.h"

void stream_open(struct stream *stream, struct run *run, unsigned index)
{
    static char data[2][MAX_DATA];

    *stream = (struct stream){
        .source = run->output[index],
        .stage = run->stage[index],
        .scratch = run->scratch,
        .number = (uint8_t)(index + 1),
        .progress = &run->shared->output[index],
        .data = data[index],
    };
    while (read(run->scratch[0], stream->data, MAX_DATA) > 0) /* of a monitor that died: it never counts */
        ;
}

/* Copies the stage's content, which stays there, into `data`. */
static void peek(struct stream *stream)
{
    int level = 0;

    ioctl(stream->stage[0], FIONREAD, &level);
    stream->held = 0;
    if (level <= 0)
        return;
    ssize_t n = tee(stream->stage[0], stream->scratch[1], (size_t)level, SPLICE_F_NONBLOCK);
    if (n > 0 && read_all(stream->scratch[0], stream->data, (size_t)n) == n)
        stream->held = (size_t)n;
}

/* A pseudo-terminal's master cannot be spliced from on kernels before 6.5; the gap between the two calls is accepted there. */
static ssize_t copy_to_stage(struct stream *stream)
{
    ssize_t n = read(stream->source, stream->data, 4096);

    if (n > 0 && write_all(stream->stage[1], stream->data, (size_t)n) != 0)
        return -1;
    return n;
}

enum filled stream_fill(struct stream *stream)
{
    ssize_t n = splice(stream->source, NULL, stream->stage[1], NULL, MAX_DATA, SPLICE_F_NONBLOCK);

    if (n < 0 && errno == EINVAL)
        n = copy_to_stage(stream);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return FILLED_NOTHING;
    if (n <= 0) /* the end, or EIO: no process has the terminal open any more */
        return FILLED_END;
    peek(stream);
    return FILLED_DATA;
}

bool stream_resume(struct stream *stream)
{
    struct progress *progress = stream->progress;

    peek(stream);
    if (stream->held > 0)
        return true;
    if (progress->next > progress->base)
        progress->base = progress->next;
    progress->logged = 0;
    return false;
}

void stream_commit(struct stream *stream)
{
    struct progress *progress = stream->progress;

    progress->next = progress->base + stream->held;
    atomic_thread_fence(memory_order_seq_cst);
    (void)!read_all(stream->stage[0], stream->data, stream->held);
    progress->base = progress->next;
    progress->logged = 0;
    stream->held = 0;
}
