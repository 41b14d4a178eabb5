/* Failures to launch, as the records of PROTOCOL.md: one line `<kind> <step> <errno> <text>[\t<hint>]`. */
#ifndef ESTIBA_FAILURE_H
#define ESTIBA_FAILURE_H

#include <stdbool.h>
#include <stddef.h>

enum kind { LAUNCH, NOT_FOUND, CANNOT_EXECUTE };

enum { EXIT_LAUNCH = 125, EXIT_CANNOT_EXECUTE = 126, EXIT_NOT_FOUND = 127, MAX_RECORD = 2048 };

/* Where a process of this role hands its record: standard error, the client's socket, the keeper's. */
typedef void failure_sink(const char *record, size_t size);
void set_failure_sink(failure_sink *sink);

/*
 * Hands out a record and ends the process. `step` is the operation, the format names the object, `error` is an errno or 0.
 * Nothing is ever degraded in silence: who cannot do what the plan says calls this.
 */
_Noreturn void fail(enum kind kind, const char *step, int error, const char *hint, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* What print_record() says cannot be done, and the exit status of a `launch` record: "start container" and EXIT_LAUNCH at first. */
void set_failure_subject(const char *subject, int status);

/* Hands out a record that another machine's process made, made harmless, and ends the process. */
_Noreturn void fail_as(const char *record, size_t size);

/* What an image or a guest says, quoted in a line: nothing in it is obeyed by a terminal. */
void sanitize(char *text);

/* The exit status that a record means. */
int record_status(const char *record);

/* What a person is told, without its hint: `cannot <subject>: ...`; returns its length, at most size - 1. */
size_t record_sentence(const char *record, char *sentence, size_t size);

/* Writes the record for a person: `estiba: cannot <subject>: ...` and the hint. */
void print_record(int fd, const char *record);

#endif
