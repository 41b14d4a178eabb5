/* Records on standard input: operations of PROTOCOL.md one after another, as long as the sender likes. */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

/* The longest record holds 1 MiB of content, a path and numbers; the buffer is twice that, so that a long rest is seldom moved. */
enum { LONGEST = (1 << 20) + (1 << 14), BUFFER = 2 * LONGEST };

static char *buffer;
static size_t first, last; /* what was read and not yet handed out */
static int errors = 1;

void record_open(int errors_to)
{
    errors = errors_to;
    buffer = allocate(BUFFER);
}

static uint32_t length_at(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Makes `wanted` bytes available from `first` on; false at the end of input. */
static bool fill(size_t wanted)
{
    if (first + wanted > BUFFER) {
        memmove(buffer, buffer + first, last - first);
        last -= first;
        first = 0;
    }
    while (last - first < wanted) {
        ssize_t got = read(0, buffer + last, BUFFER - last);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            jail_fail(errors, "input", errno, "");
        if (got == 0)
            return false;
        last += (size_t)got;
    }
    return true;
}

bool record_waiting(void)
{
    return last - first >= OP_HEADER && last - first - OP_HEADER >= length_at(buffer + first + 4);
}

bool record_next(struct op *op)
{
    const char *reason;

    if (first == last)
        first = last = 0;
    if (!fill(OP_HEADER)) {
        if (first != last)
            jail_fail(errors, "input", EPROTO, "");
        return false;
    }
    uint32_t length = length_at(buffer + first + 4);
    if (length > LONGEST - OP_HEADER || !fill(OP_HEADER + (size_t)length))
        jail_fail(errors, "input", EPROTO, "");
    size_t taken = plan_decode_op(buffer + first, OP_HEADER + (size_t)length, op, &reason);
    if (taken == 0)
        jail_fail(errors, "input", EPROTO, reason);
    first += taken;
    return true;
}
