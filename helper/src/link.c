#define _GNU_SOURCE
#include "link.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

static size_t room(const struct link *link)
{
    size_t left = sizeof link->out - link->to;
    return left > sizeof(struct frame) ? left - sizeof(struct frame) : 0;
}

size_t link_room(struct link *link)
{
    if (room(link) < MAX_DATA && link->from > 0) {
        memmove(link->out, link->out + link->from, link->to - link->from);
        link->to -= link->from;
        link->from = 0;
    }
    return room(link);
}

enum { BLOCK_FROM = 512 }; /* bytes from which a block is cheaper */

/* False when none is free. */
static bool write_block(struct link *link, struct frame *frame, const void *data)
{
    uint32_t number = link->block % BLOCKS;
    off_t at = (off_t)number * BLOCK_SIZE;

    if (link->block_ends[number] > link->credit || write_all_at(link->blocks, frame, sizeof *frame, at) != 0 ||
        write_all_at(link->blocks, data, frame->size, at + (off_t)sizeof *frame) != 0)
        return false;
    *frame = (struct frame){.message = {.type = MESSAGE_BLOCK, .number = number, .offset = sizeof *frame + frame->size}};
    link->block_ends[number] = link->sent + (link->to - link->from) + sizeof *frame;
    link->block++;
    return true;
}

bool link_put(struct link *link, uint32_t session, const struct message *message, const void *data, size_t size)
{
    struct frame frame = {.size = (uint32_t)size, .session = session, .message = *message};

    if (link_room(link) <= size)
        return false;
    if (link->uses_blocks && size >= BLOCK_FROM && write_block(link, &frame, data))
        size = 0;
    memcpy(link->out + link->to, &frame, sizeof frame);
    if (size > 0)
        memcpy(link->out + link->to + sizeof frame, data, size);
    link->to += sizeof frame + size;
    return true;
}

bool link_tell(struct link *link, uint32_t session, unsigned type, uint32_t number)
{
    struct message message = {.type = (uint8_t)type, .number = number};
    return link_put(link, session, &message, NULL, 0);
}

/* How much of the buffer may be sent now. */
static size_t sendable(const struct link *link)
{
    size_t size = link->to - link->from;
    uint64_t left = link->credit + link->window - link->sent;

    return link->window == 0 || size < left ? size : (size_t)left;
}

bool link_flush(struct link *link)
{
    size_t size;

    while ((size = sendable(link)) > 0) {
        ssize_t n = write(link->fd, link->out + link->from, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        link->from += (size_t)n;
        link->sent += (uint64_t)n;
    }
    return true;
}

short link_events(const struct link *link)
{
    return (short)(POLLIN | (sendable(link) > 0 ? POLLOUT : 0));
}

static int whole_frame(struct link *link, struct frame *frame, char **data)
{
    if (link->received < sizeof *frame)
        return 0;
    memcpy(frame, link->in, sizeof *frame);
    if (frame->size > MAX_DATA || frame->session >= MAX_SESSIONS) {
        errno = EPROTO;
        return -1;
    }
    if (link->received < sizeof *frame + frame->size)
        return 0;
    *data = link->in + sizeof *frame;
    link->taken = sizeof *frame + frame->size;
    return 1;
}

int link_take(struct link *link, struct frame *frame, char **data)
{
    if (link->taken > 0) {
        memmove(link->in, link->in + link->taken, link->received - link->taken);
        link->received -= link->taken;
        link->taken = 0;
    }
    for (;;) {
        int found = whole_frame(link, frame, data);
        if (found != 0)
            return found;
        ssize_t n = read(link->fd, link->in + link->received, sizeof link->in - link->received);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0) {
            errno = 0;
            return -1;
        }
        link->received += (size_t)n;
        link->read += (uint64_t)n;
    }
}
