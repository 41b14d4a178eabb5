/* The host's end of one program in a guest: its streams are descriptors here, and frames on the link (machine_session.c). */
#ifndef ESTIBA_MACHINE_SESSION_H
#define ESTIBA_MACHINE_SESSION_H

#include <poll.h>

#include "link.h"
#include "run.h"

/* What the guest sent of an output stream and its reader has not taken. */
struct sink {
    int fd;             /* -1: nobody reads it */
    uint64_t taken;     /* bytes that went on, or were thrown away */
    uint64_t acknowledged;
    size_t from, to;
    char *data;         /* OUTPUT_WINDOW bytes */
};

struct session {
    uint32_t number;
    enum phase phase;
    int input;               /* -1: there is none, or it ended */
    bool input_ended;        /* the guest is still to be told */
    uint64_t sent, accepted; /* bytes of input */
    struct sink outputs[2];
    int exit_code;
};

enum { SESSION_POLLED = 3 };

/* Its program gets these streams of ours, -1 where it has none. They become non-blocking. A session may be opened again when it is over. */
void session_open(struct session *self, uint32_t number, const int streams[3]);
/* Sends what can be sent of the session's plan, or of the first part of it; true when all of that is. */
bool session_send_plan(const struct session *self, struct link *link, const char *plan, size_t size, size_t *sent, bool first_part);
/* Takes a frame of this session; false when it makes no sense. A failure to launch is not taken here. */
bool session_hear(struct session *self, const struct frame *frame, const char *data);
void session_watch(const struct session *self, const struct link *link, struct pollfd fds[SESSION_POLLED]);
/* Moves what can be moved; `fds` are those of session_watch() behind poll(2). */
void session_move(struct session *self, struct link *link, const struct pollfd fds[SESSION_POLLED]);
/* The program ended, and all of its output went on. */
bool session_is_over(const struct session *self);

#endif
