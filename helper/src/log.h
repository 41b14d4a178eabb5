/*
 * The container's log in the CRI format: `<RFC 3339 time> stdout|stderr F|P <text>`, P for a part of a line. `name` is written, `name.1`
 * came before it, and so on. What the disk had no room for is told of by a record whose tag is `F:dropped`.
 *
 * Its writer may be killed at any instruction. What a write changes is noted in shared memory before it, and a new monitor takes back
 * what was not finished; the same bytes are then written again at the same place, so that a reader loses and sees nothing twice.
 */
#ifndef ESTIBA_LOG_H
#define ESTIBA_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct run;

struct log {
    int directory; /* -1: the container keeps no log */
    const char *name;
    uint64_t max_size; /* 0: without limit */
    uint32_t max_files;
    int fd;                  /* the monitor's alone: the keeper would hold a file that was rotated away */
    uint64_t failing, tried; /* CLOCK_MONOTONIC, ns: since when nothing can be written (0: it can), and the last attempt */
};

/* In memory that outlives a monitor. */
struct log_state {
    uint64_t dropped[2]; /* bytes of each stream that found no room and are not told of yet */
    struct {
        int64_t size;
        uint64_t dropped;
        uint32_t logged;
        uint8_t stream;
        bool writing;
    } before; /* of the write that is going on */
};

/* Opens the log, and puts right what a dead monitor left. False with errno. */
bool log_open(struct run *run);
/*
 * Writes what of the stream's `size` held bytes is not in the log yet. False when the disk has no room and the program is to wait; after
 * a while, or when the container has ended, the bytes are dropped instead and counted.
 */
bool log_stream(struct run *run, unsigned stream, const char *data, size_t size);
/* Tells of what was dropped last. */
void log_end(struct run *run);

#endif
