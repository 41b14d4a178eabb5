/* The caller's terminal. */
#ifndef ESTIBA_TERMINAL_H
#define ESTIBA_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

/* Puts the terminal into raw mode (cfmakeraw(3)) and says in `before` what it was. False when it is no terminal. */
bool terminal_raw(int fd, struct termios *before);
void terminal_restore(int fd, const struct termios *before);

#endif
