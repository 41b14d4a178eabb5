/*
 * What client, monitor and keeper of one container share. run.c fills it before the first fork; afterwards each process has its
 * own copy, and the keeper's is complete enough to start a new monitor from.
 */
#ifndef ESTIBA_RUN_H
#define ESTIBA_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "channel.h"
#include "failure.h"
#include "log.h"
#include "plan.h"

enum stream_kind { STREAMS_NULL = 0, STREAMS_PIPES = 1, STREAMS_TERMINAL = 2, STREAMS_INHERITED = 3 };

/* What the program's standard input is (`streams` of the plan). */
enum input_kind { INPUT_NONE = 0, INPUT_ONCE = 1, INPUT_OPEN = 2 };

enum { MAX_CLIENTS = 16, MAX_DETACH_KEYS = 16 };

/* How long a client that does not read, or a log that cannot be written, holds the program up; how often the log is tried again. */
#define PATIENCE_NS 5000000000u
enum { RETRY_MS = 100 };

/* How far one output stream is, in memory that outlives a monitor (stream.c says how it is used). */
struct progress {
    uint64_t base, next; /* offset of the first byte in the stage, and what it becomes when the stage is emptied */
    uint32_t logged;     /* bytes of the stage that the log has */
};

/* How far the clients' input is (input.c). */
struct input_progress {
    uint64_t taken[MAX_CLIENTS]; /* bytes of each client that went into the stage */
    uint64_t before; /* while some of `client` go into it: what `taken` was, and the stage's level then */
    int level;
    uint8_t client;
    bool staging;
    bool ended; /* no more will come: close the program's end once the stage is empty */
};

struct shared {
    struct progress output[2];
    struct log_state log;
    struct input_progress input;
};

enum phase { LAUNCHING, STARTED, FAILED, EXITED };

struct run {
    const struct plan *plan;
    enum stream_kind kind;
    enum input_kind input_kind;
    bool attached, signal_proxy;
    uint32_t muted; /* bits of the output streams that the client does not copy: 1 output, 2 error */
    bool joins; /* the program joins a container that runs, whose namespaces are its own keeper's to hold */
    uint32_t rows, columns, stop_signal;
    struct log log;
    int status, report, listener; /* descriptors, -1 where the plan names none */

    int clients[MAX_CLIENTS]; /* the monitor's ends of the connections, -1: none; [0] is the client that started the container */
    int keeper;       /* the monitor's end of the connection with the keeper */
    int monitor;      /* the keeper's end */
    int rest;         /* of the first process of a guest's program whose plan comes in two parts: where the second comes from, else -1 */
    int terminal;     /* the client's terminal, while it may have to be restored for a client that was killed */
    struct termios terminal_before;
    int input;        /* write end of standard input, or the pseudo-terminal's master */
    int output[2];    /* read ends of standard output and error, or the master and -1 */
    int stage[2][2];  /* pipes that hold output between the program and its readers */
    int input_stage[2];
    int scratch[2];   /* where a monitor looks at what a stage holds (stream.c) */
    struct shared *shared;

    enum phase phase;
    int program;     /* pidfd of the container's first process */
    pid_t pid;
    int user_namespace; /* to remove what belongs to its ids */
    int namespaces[3];  /* mount, network, IPC: the keeper holds them, so that their end is not waited for with the program's */
    int exit_code, exit_signal;
    bool reported;      /* the monitor told the clients */
    char record[MAX_RECORD]; /* of phase FAILED */
};

/* run.c: a plan for `run` or `attach` as this structure, with nothing open yet but its slots. */
void run_read(struct run *run, const struct plan *plan);
/* run.c: only the slots stay open, and nothing of them reaches a program by an exec. */
void run_close_others(const struct plan *plan);
/* client.c: copies the streams of the calling process; returns its exit status. */
int client_main(struct run *run, int connection);
/* monitor.c; `resumed` when the keeper starts it in the place of one that died. */
_Noreturn void monitor_main(struct run *run, bool resumed);
/* keeper.c */
_Noreturn void keeper_main(struct run *run);
/* keeper.c: clones the first process, which has the connection's second end, with what open_cgroups() returned; then makes what it
 * waits for. */
void clone_program(struct run *run, const int connection[2], int cgroup);
void prepare_program(struct run *run, int connection);
/* run.c: binds the socket of `listen`, if there is one. */
void run_listen(struct run *run);
/* container.c: the container's first process; `connection` leads to the keeper. */
_Noreturn void container_main(struct run *run, int connection);

/* run.c: the outer ends of the streams, as the container's first process sent them with MESSAGE_STREAMS (none of kind null). */
void take_streams(struct run *run, const struct descriptors *descriptors);

/* wait.c: how the program ended, into exit_code and exit_signal; false when it did not, or nobody knows any more. */
bool take_exit_status(struct run *run);

/* run.c: CLONE_NEW* flags of the namespaces that the program does not share with the helper: made for it, or joined. */
uint64_t namespaces_of(const struct plan *plan);
/* Whether a plan of `create` joins a namespace of this CLONE_NEW* kind. */
bool joins_namespace(const struct plan *plan, uint64_t kind);

/* trace.c: a line for `run --explain` where the plan asks for it. */
void trace_to(int fd);
void trace(const char *step);
/* Where the lines go, or -1. */
int trace_descriptor(void);

/* status.c */
void status_running(const struct run *run);
void status_exited(const struct run *run, bool oom);
/* Why the program was never executed: run->record. */
void status_failed(const struct run *run);

/* events.c */
void events_started(const struct run *run);
void events_ended(const struct run *run, bool oom);
void events_gone(const struct run *run);
void events_detached(const struct run *run);
void events_resized(const struct run *run, uint32_t size);

/* after.c: whether `discard` would take the container away now. */
bool after_takes_container(const struct run *run);
/* after.c: the operations that come before the exit is reported, and those behind it. */
void after_before_report(const struct run *run);
/* Ends in the container's user namespace, if there is one. */
void after_behind_report(const struct run *run);

/* harden.c: what monitor and keeper do not need is given up. */
void harden_watcher(void);

#endif
