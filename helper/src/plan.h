/* A plan in memory: decoded once, as a whole, before anything is done (PROTOCOL.md). */
#ifndef ESTIBA_PLAN_H
#define ESTIBA_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ops.h"

struct op {
    const struct schema *schema;
    union arguments args;
};

enum { MAX_SLOTS = 256, NO_SLOT = 0xffffffff, OP_HEADER = 8, MAX_PLAN = 16 << 20 };

struct slot {
    int fd;           /* -1 when the plan does not bind the slot */
    const char *path; /* "" for a descriptor that is only read or written */
    bool idmap, recursive;
};

struct plan {
    struct op *ops;
    uint32_t count;
    struct slot slots[MAX_SLOTS];
};

/*
 * Reads, decodes and checks the plan of the descriptor: wire format, schema, order of sides, slots that are bound once and
 * open. Fails (failure.h) with a reason otherwise. `sides` is a mask of 1 << SIDE_*.
 */
void plan_read(struct plan *plan, int fd, unsigned sides);

/* The same of a plan in memory, which stays there as long as the plan is used. */
void plan_decode(struct plan *plan, const char *data, size_t size, unsigned sides);

/*
 * Decodes one operation: its header of OP_HEADER bytes and what follows; `size` bytes are there. Returns the bytes
 * it took, or 0 with a reason. What it decodes points into `data`.
 */
size_t plan_decode_op(const char *data, size_t size, struct op *op, const char **reason);

/* Checks that a plan for `run` makes sense as a whole (plan_check.c); fails with a reason. */
void plan_check_run(const struct plan *plan);
/* The same of the second part of a guest's plan (`rest`). */
void plan_check_rest(const struct plan *plan);
void plan_check_attach(const struct plan *plan);
void plan_check_create(const struct plan *plan);

/* The descriptor of a slot, -1 for NO_SLOT. */
int slot_descriptor(const struct plan *plan, uint32_t number);
/* The first operation with this code, or NULL. */
const struct op *plan_find(const struct plan *plan, uint16_t code);
/* The next one after `op`, or NULL. */
const struct op *plan_next(const struct plan *plan, const struct op *op, uint16_t code);

/* Steps through a list: `const char *p = NULL; while ((s = list_next(&value, &p)))`. */
const char *list_next(const union value *list, const char **position, uint32_t *index);
/* A list as execve(2) takes it; room for `extra` more entries before the NULL. */
char **list_vector(const union value *list, size_t extra);

static inline bool op_is(const struct op *op, uint16_t code)
{
    return op->schema->code == code;
}

#endif
