/* The helper runs from a copy of itself that nobody can write (hardening W4). */
#ifndef ESTIBA_SEAL_H
#define ESTIBA_SEAL_H

/* Executes this program again from a sealed memfd, unless it runs from one. Same arguments, no environment. */
void run_sealed(char *const arguments[]);

#endif
