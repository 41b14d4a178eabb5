/*
 * The programs of `exec` in a guest. Each is asked for by a process that has joined the jail (machine_execute.c): one message in a mailbox of
 * the jail's own brings its plan, its streams, and a connection for all that comes after. Only processes of the jail can put something there.
 */
#ifndef ESTIBA_MACHINE_PROGRAMS_H
#define ESTIBA_MACHINE_PROGRAMS_H

#include "machine_session.h"

/* The mailbox, in the folder of the jail's own state (machine/layout.py, STATE). */
#define PROGRAMS_PATH "/run/programs"

enum { PROGRAMS_POLLED = 1 + (MAX_SESSIONS - 1) * (1 + SESSION_POLLED) };

void programs_open(void);
/* Takes a frame of a session above 0; false when it makes no sense. */
bool programs_hear(const struct frame *frame, const char *data);
void programs_watch(const struct link *link, struct pollfd fds[PROGRAMS_POLLED]);
/* Moves what can be moved; `fds` are those of programs_watch() behind poll(2). */
void programs_move(struct link *link, const struct pollfd fds[PROGRAMS_POLLED]);

#endif
