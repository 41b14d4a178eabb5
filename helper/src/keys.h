/* Detach keys: a sequence of bytes that a user types in order to leave the container. */
#ifndef ESTIBA_KEYS_H
#define ESTIBA_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "run.h"

struct keys {
    const char *sequence;
    size_t size; /* 0: there is none */
    char held[MAX_DETACH_KEYS];
    size_t count; /* bytes typed that may be the beginning of the sequence: held back until that is known */
};

/*
 * What of the typed bytes is for the program, into `out`, which has room for MAX_DETACH_KEYS more than `size`; returns how much. True in
 * `found` when they hold the sequence: what comes behind it is dropped.
 */
size_t keys_filter(struct keys *keys, const char *data, size_t size, char *out, bool *found);

#endif
