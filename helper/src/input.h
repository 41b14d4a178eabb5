/*
 * Standard input on its way from the clients to the program. As with the output (stream.h) a stage in the kernel holds what was
 * taken from the first client and has not reached the program, so that a monitor may be killed at any instruction.
 */
#ifndef ESTIBA_INPUT_H
#define ESTIBA_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "run.h"

/* Bytes in the stage. */
int input_level(const struct run *run);

/*
 * Puts a message's data into the stage. With `counted` (the first client) `offset` is that of its first byte; with `resumed`
 * too, this is the first message a new monitor reads: whether the dead one had staged it already shows in the stage's level.
 */
void input_stage(struct run *run, const char *data, size_t size, uint64_t offset, bool counted, bool resumed);

/* Moves what the program has room for; false when it reads no more. */
bool input_move(struct run *run);

#endif
