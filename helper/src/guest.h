/* PID 1 of a guest: guest.c (the loop), guest_session.c (its programs), guest_boot.c (its tree and its channel), guest_serve.c (what is no program),
 * guest_disk.c, guest_alone.c. */
#ifndef ESTIBA_GUEST_H
#define ESTIBA_GUEST_H

#include <poll.h>
#include <stdbool.h>

#include "link.h"
#include "plan.h"
#include "run.h"

/* One program: the container's own (session 0) or one of `exec`. */
struct guest_session {
    uint32_t number;
    char *plan;             /* while it arrives */
    size_t plan_size, plan_received;
    int keeper;             /* connection, -1: the session is free */
    int rest;               /* leads to a first process that waits for the second part of its plan, else -1 */
    int program;            /* pidfd */
    enum phase phase;
    bool terminal;
    int outputs[2], input;  /* the outer ends of its streams, -1 where there is none (any more) */
    uint64_t sent[2], accepted[2];
    uint64_t received, acknowledged; /* bytes of input */
    size_t from, to;        /* of `data`, not written yet */
    bool input_ended;
    int exit_code, exit_signal;
    char data[INPUT_WINDOW];
};

enum { GUEST_POLLED = 4 };

/* guest_boot.c: loads the modules of the initramfs, first of all. */
void guest_load_modules(void);
/* guest_boot.c: a root that can be pivoted from, the kernel's file systems, and the channel, non-blocking, with its window or 0. */
void guest_make_tree(void);
int guest_open_channel(uint64_t *window);
/* The operations of side `guest`, in order; `program` is the pidfd of the container's own, -1 without it. */
void guest_prepare(struct plan *plan, int program);
/* guest_serve.c: what the plan wants in the place of a program, done by this process's child, is told over `connection` as of a program's
 * keeper. Returns where it wants a program. */
void guest_serve(const struct plan *plan, int connection);
/* guest_disk.c: the device of PARTLABEL=NAME, a partition (as of mount(8)), or SERIAL=NUMBER, a disk; waited for: disks are found while a kernel boots. */
const char *guest_disk(const char *name);
/* Everything that was written is on the disks. */
void guest_sync(void);

/* guest_boot.c: a file of the initramfs, whole; NULL when there is none. Only before guest_make_tree(). */
char *guest_take_file(const char *path, size_t *size);
/* guest_boot.c: the host's random numbers go into the guest's. */
void guest_add_entropy(const char *data, size_t size);
/* guest_boot.c: nanoseconds since 1970. */
void guest_set_clock(uint64_t time);

/* guest_alone.c: the end of the channel for a machine without a host, whose other end is the console; `words` are the file GUEST_ALONE. The
 * process that is returned ends when the program did and all it wrote was shown. */
pid_t guest_alone(const char *words, int *channel);
/* guest_alone.c: writes the disks and switches the machine off. */
void guest_switch_off(void);

/* guest_session.c */
void guest_session_reset(struct guest_session *self, uint32_t number);
/* Starts a session's program; the plan is freed. Where it is the first part of two the program's first process has carried it out then,
 * or failed. */
void guest_session_start(struct guest_session *self, char *plan, size_t size, bool first_part);
/* Takes a frame of the host's; true when the program waits for the second part of its plan from now on. */
bool guest_session_hear(struct guest_session *self, const struct frame *frame, const char *data);
void guest_session_watch(const struct guest_session *self, const struct link *link, struct pollfd fds[GUEST_POLLED]);
void guest_session_move(struct guest_session *self, struct link *link, const struct pollfd fds[GUEST_POLLED]);

#endif
