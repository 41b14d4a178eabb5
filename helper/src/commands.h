/* The commands of estiba-init: each takes a decoded plan and returns the exit status. */
#ifndef ESTIBA_COMMANDS_H
#define ESTIBA_COMMANDS_H

#include "plan.h"

int run_command(struct plan *plan);    /* run.c */
int unpack_command(struct plan *plan); /* layers.c, then unpack.c: records of a layer from standard input */
int read_command(struct plan *plan);   /* layers.c, then unpack_read.c: answers about a layer's files */
int remove_command(struct plan *plan); /* layers.c, then remove.c: empties the trash */

#endif
