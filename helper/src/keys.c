#define _GNU_SOURCE
#include "keys.h"

#include <string.h>

/* Gives away the first of the held bytes until the rest may begin the sequence again. */
static size_t give_up(struct keys *keys, char *out)
{
    size_t given = 0;

    while (keys->count > 0 && memcmp(keys->held, keys->sequence, keys->count) != 0) {
        out[given++] = keys->held[0];
        memmove(keys->held, keys->held + 1, --keys->count);
    }
    return given;
}

size_t keys_filter(struct keys *keys, const char *data, size_t size, char *out, bool *found)
{
    size_t done = 0;

    *found = false;
    if (keys->size == 0) {
        memcpy(out, data, size);
        return size;
    }
    for (size_t i = 0; i < size && !*found; i++) {
        keys->held[keys->count++] = data[i];
        done += give_up(keys, out + done);
        *found = keys->count == keys->size;
    }
    return done;
}
