/* The commands of estiba-init that are no layer's (those: unpack.h). Each takes a decoded plan and returns the exit status. */
#ifndef ESTIBA_COMMANDS_H
#define ESTIBA_COMMANDS_H

#include "plan.h"

int run_main(const struct plan *plan);    /* run.c */
int attach_main(const struct plan *plan); /* attach.c */
int create_main(const struct plan *plan); /* create.c */

/* guest.c: PID 1 of a guest. */
_Noreturn void guest_main(void);

#endif
