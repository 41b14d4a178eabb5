/*
 * Messages between client, monitor, keeper and the container's first process: SOCK_SEQPACKET, one header and its data each,
 * descriptors by SCM_RIGHTS (unix(7)). The client's part is normative: PROTOCOL.md, "Attaching".
 */
#ifndef ESTIBA_CHANNEL_H
#define ESTIBA_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum message_type {
    /* monitor -> client */
    MESSAGE_STARTED = 1,  /* number: CLIENT_PROTOCOL */
    MESSAGE_OUTPUT = 2,   /* stream, offset, data */
    MESSAGE_FAILED = 3,   /* data: a failure record */
    MESSAGE_EXITED = 4,   /* number: exit status, offset: signal or 0 */
    MESSAGE_ACCEPTED = 5, /* offset: bytes of input that reached the program */
    MESSAGE_DROPPED = 6,  /* the client did not read for too long */
    /* client -> monitor */
    MESSAGE_INPUT = 16, /* offset, data */
    MESSAGE_INPUT_END = 17,
    MESSAGE_SIGNAL = 18, /* number */
    MESSAGE_SIZE = 19,   /* number: rows << 16 | columns */
    MESSAGE_LEAVE = 20,  /* the client restored its terminal and goes; number: LEFT or LEFT_BY_KEYS */
    MESSAGE_BROKEN = 21, /* stream: the client cannot write it any more */
    /* keeper <-> monitor, first process <-> keeper */
    MESSAGE_GO = 32,           /* descriptors: idmapped clones, in the order of their slots */
    MESSAGE_STREAMS = 33,      /* descriptors: the outer ends of the streams */
    MESSAGE_INPUT_CLOSED = 34, /* the monitor closed the program's standard input */
    MESSAGE_OUTPUT_CLOSED = 35, /* stream */
    MESSAGE_REPORTED = 36,     /* the exit was reported: the namespaces may go */
    MESSAGE_EXECUTE = 37,      /* all is done but execve(2): the connection's end now means that it succeeded */
    MESSAGE_CLIENT = 38,       /* number: a later client's, descriptor: its connection; the keeper holds it for a next monitor */
    MESSAGE_CLIENT_GONE = 39,  /* number */
    MESSAGE_JOINED = 40,       /* number: the pid of the process that was made in the container, descriptor: its pidfd */
    /* exec <-> a machine's first process, beside STARTED, FAILED, EXITED, SIGNAL and SIZE (machine_programs.h) */
    MESSAGE_PROGRAM = 42,      /* number: 1 with standard input; descriptors: a connection, the plan, output, error, perhaps input */
    MESSAGE_ASK = 41,          /* number: a pid; the caller's hooks run until it says MESSAGE_GO (PROTOCOL.md, "Create") */
};

/* Numbers of MESSAGE_LEAVE. */
enum { LEFT = 0, LEFT_BY_KEYS = 1 };

struct message {
    uint8_t type;
    uint8_t stream; /* 1 standard output (and a pseudo-terminal), 2 standard error */
    uint16_t zero;
    uint32_t number;
    uint64_t offset;
};

enum {
    CLIENT_PROTOCOL = 1, /* of the messages between client and monitor, which may be of two versions of this program */
    MAX_DATA = 32768,    /* of one message; well below the default net.core.wmem_default */
    INPUT_WINDOW = 16384, /* bytes of input that a client may send ahead of MESSAGE_ACCEPTED */
    MAX_DESCRIPTORS = 250, /* SCM_MAX_FD is 253 */
};

struct descriptors {
    int fds[MAX_DESCRIPTORS];
    size_t count;
};

/* Two connected ends, both close-on-exec. */
void channel_pair(int ends[2]);

/* A socket `name` in a directory, for its owner alone: one that waits for clients, or one that is connected to it. -1 with errno. */
int channel_listen(int directory, const char *name);
int channel_connect(int directory, const char *name);

/* For messages that stand alone (SOCK_DGRAM), at a path in the tree of both: where they arrive, and where they are put in. -1 with errno. */
int channel_mailbox(const char *path);
int channel_mail(const char *path);

/* 0, or -1 with errno. `flags` as send(2); SIGPIPE is never raised. */
int channel_send(int fd, const struct message *message, const void *data, size_t size, const struct descriptors *descriptors,
                 int flags);

/*
 * The size of the message's data; -1 with errno; -1 with errno 0 at the end of the connection. Descriptors that come along
 * are received close-on-exec; without `descriptors` they are refused by the kernel's truncation.
 */
ssize_t channel_receive(int fd, struct message *message, void *data, size_t size, struct descriptors *descriptors, int flags);

/* A message of a type and a number alone. */
int channel_tell(int fd, enum message_type type, uint32_t number);

#endif
