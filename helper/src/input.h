/*
 * Standard input on its way from the clients to the program. As with the output (stream.h) a stage in the kernel holds what was
 * taken from the clients and has not reached the program, so that a monitor may be killed at any instruction.
 */
#ifndef ESTIBA_INPUT_H
#define ESTIBA_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "run.h"

/* Bytes in the stage. */
int input_level(const struct run *run);

/* Puts as much of the client's data into the stage as there is room for, and returns how much; `offset` is that of the first byte. */
size_t input_stage(struct run *run, unsigned client, const char *data, size_t size, uint64_t offset);

/* What a monitor that died while it staged has left: the stage's level tells how much of it went in. */
void input_resume(struct run *run);

/* Moves what the program has room for; false when it reads no more. */
bool input_move(struct run *run);

#endif
