/*
 * One output stream of the program on its way to the log and the clients, such that a monitor may be killed at any
 * instruction and no byte is lost or doubled.
 *
 * Bytes move from the program's pipe into a second pipe, the stage, by splice(2): in the kernel, whole or not at all. They are
 * looked at by tee(2), delivered, and only then taken out of the stage. `struct progress` in shared memory holds the offset of
 * the stage's first byte (`base`) and, before the stage is emptied, what follows it (`next`): a new monitor that finds the
 * stage empty goes on at `next`, one that finds it full delivers again at `base`. Clients drop what they have by its offset;
 * the log knows how much of them it has (log.h).
 */
#ifndef ESTIBA_STREAM_H
#define ESTIBA_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "run.h"

struct stream {
    int source; /* -1 when the stream ended */
    const int *stage, *scratch;
    uint8_t number;
    struct progress *progress;
    size_t held;          /* bytes in the stage, and in `data` */
    char *data;
    uint32_t waiting;     /* clients (a bit each) that do not have them yet */
};

void stream_open(struct stream *stream, struct run *run, unsigned index);

/* Takes over what a dead monitor left in the stage; true when there is something to deliver. */
bool stream_resume(struct stream *stream);

enum filled { FILLED_NOTHING, FILLED_DATA, FILLED_END };
/* Moves what the program wrote, at most MAX_DATA bytes, into the stage and `data`. Only when nothing is held. */
enum filled stream_fill(struct stream *stream);

/* Everyone has them: empties the stage. */
void stream_commit(struct stream *stream);

#endif
