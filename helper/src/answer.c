/* Answers of the commands that look at files, collected until the other side may wait for them. */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

enum { BUFFER = 256 * 1024 };

static unsigned char buffer[BUFFER];
static size_t used;

void answer_flush(void)
{
    if (write_all(1, buffer, used) < 0)
        _exit(1); /* nobody listens any more */
    used = 0;
}

void answer(const void *bytes, size_t length)
{
    if (used + length > BUFFER)
        answer_flush();
    memcpy(buffer + used, bytes, length);
    used += length;
}

void answer_number(uint32_t number)
{
    answer(&number, sizeof number);
}

uint64_t answer_file(int fd, uint64_t offset, uint64_t length)
{
    uint64_t done = 0;

    while (done < length) {
        if (used == BUFFER)
            answer_flush();
        size_t room = BUFFER - used;
        ssize_t got = pread(fd, buffer + used, length - done < room ? (size_t)(length - done) : room, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = 0;
        if (got <= 0)
            break;
        used += (size_t)got;
        done += (uint64_t)got;
    }
    return done;
}
