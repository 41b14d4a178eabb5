/*
 * Messages (channel.h) over a byte stream that leads into a guest: frames of a fixed head and the message's data. Both ends read
 * always and never wait to write: what is sent ahead is bounded by windows (PROTOCOL.md, "Guests").
 */
#ifndef ESTIBA_LINK_H
#define ESTIBA_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"

/* Messages beside those of clients. */
enum link_message {
    MESSAGE_READY = 64,   /* guest: number is the protocol's version, offset the channel's window or 0, stream 1: it takes MESSAGE_BLOCK */
    MESSAGE_WAKE = 65,    /* host: offset is the time (CLOCK_REALTIME, ns), data random numbers; the guest says READY again */
    MESSAGE_PLAN = 66,    /* host: number is the plan's size, offset that of the data in it; whole, it starts the session */
    MESSAGE_SYNCED = 67,  /* guest: what it wrote is on its disks, and it does nothing more */
    MESSAGE_READ = 68,    /* guest: offset is the bytes it has read from the channel */
    MESSAGE_BLOCK = 69,   /* host: a frame is in the block `number` of the channel's disk; offset is its size, with its head */
};

enum {
    MAX_SESSIONS = 16,
    OUTPUT_WINDOW = 65536, /* bytes of one output stream that a guest may send ahead of MESSAGE_ACCEPTED */
    LINK_BUFFER = 4 * OUTPUT_WINDOW,
    /*
     * What may wait in a guest's serial line: a terminal's buffer is 4,096 bytes, and User-Mode Linux stops reading for good once
     * the line was throttled, at 128 bytes before its end (n_tty.c, arch/um/drivers/line.c of Linux 7.2).
     */
    LINE_WINDOW = 3584,
};

/*
 * A serial line of User-Mode Linux is read by one system call for each byte (chan_user.c, generic_read). Frames of some size go by a disk that
 * the guest's kernel does not keep in memory, in blocks, and a small frame in their place.
 */
#define BLOCKS_FILE "/run/channel" /* in the jail; machine/layout.py */
#define BLOCKS_DISK "/dev/ubdp"    /* in the guest: its last */
enum { BLOCKS = 64, BLOCK_SIZE = 36864 };

/* On the wire, little endian as everything of ours. */
struct frame {
    uint32_t size; /* of the data behind it, at most MAX_DATA */
    uint32_t session;
    struct message message;
};

struct link {
    int fd; /* non-blocking */
    uint64_t window;        /* bytes that may be ahead of what the other end said it has read, 0 without a limit */
    uint64_t sent, credit;  /* bytes written, and those that the other end has read */
    uint64_t read, told;    /* bytes read, and those that the other end knows of */
    size_t received, taken; /* bytes in `in`, and those of the frame that was given out */
    size_t from, to;        /* what of `out` is not sent yet */
    bool uses_blocks;       /* the other end takes MESSAGE_BLOCK */
    int blocks;             /* the file */
    uint32_t block;         /* how many there were */
    uint64_t block_ends[BLOCKS]; /* where the small frame ended that stood for the last one there: read behind it, the block is free */
    char in[sizeof(struct frame) + MAX_DATA];
    char out[LINK_BUFFER];
};

/* Bytes of data that a frame may have now. */
size_t link_room(struct link *link);
/* Puts a frame into the buffer; false when there is no room. link_flush() sends it. */
bool link_put(struct link *link, uint32_t session, const struct message *message, const void *data, size_t size);
/* A frame of a type and a number alone. */
bool link_tell(struct link *link, uint32_t session, unsigned type, uint32_t number);
/* Sends what it can; false when the other end is gone. */
bool link_flush(struct link *link);
/* Something waits to be sent. */
static inline bool link_is_blocked(const struct link *link)
{
    return link->to > link->from;
}
/* What to poll(2) for. */
short link_events(const struct link *link);

/* The next frame, which stays until the call after; 0 when none is whole yet, -1 when the other end is gone or talks nonsense (EPROTO). */
int link_take(struct link *link, struct frame *frame, char **data);

#endif
