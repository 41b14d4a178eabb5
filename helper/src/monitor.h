/* The monitor's state, shared by monitor.c (the life of the container), relay.c (its streams) and clients.c (who is attached). */
#ifndef ESTIBA_MONITOR_H
#define ESTIBA_MONITOR_H

#include "channel.h"
#include "run.h"
#include "stream.h"

/* What the monitor knows of a client beside its connection, run->clients. */
struct client_state {
    bool left;           /* restored its terminal and went by itself */
    bool stalled;        /* the next of its messages is input that the stage has no room for */
    uint64_t acknowledged; /* what it was told of its input */
    uint32_t blocked;      /* streams (a bit each), and bit 0 for acknowledgements, that wait for room in its socket */
    uint64_t blocked_since; /* CLOCK_MONOTONIC, ns; 0: it takes what it is sent */
};

struct monitor {
    struct run *run;
    struct stream streams[2];
    struct client_state clients[MAX_CLIENTS];
    bool log_blocked; /* the log's disk is full */
    bool has_room;    /* clients_make_room() was called */
};

/* --- clients.c */

/* Takes everyone who waits at the listener. */
void clients_accept(struct monitor *monitor);
/* Reads one message of the client; `hung_up` when it is dead. */
void client_read(struct monitor *monitor, unsigned index, bool hung_up);
/* Tells clients how much of their input reached the program. */
void clients_acknowledge(struct monitor *monitor);
/* Sends what the stream holds to the clients that wait for it. */
void clients_deliver(struct monitor *monitor, struct stream *stream);
/* Lets go of those who have not read for too long; the milliseconds until that has to be looked at again, or -1. */
int clients_drop_stalled(struct monitor *monitor);
/* The container has ended: what is left finds room in the clients' sockets, and nobody who does not read is waited for. */
void clients_make_room(struct monitor *monitor);
/* Sends a message to all clients. */
void clients_tell(struct monitor *monitor, const struct message *message, const void *data, size_t size);

/* --- relay.c */

void relay_open(struct monitor *monitor, bool resumed);
/* Moves output on; `ready` when there may be more. */
void relay_output(struct monitor *monitor, struct stream *stream, bool ready);
void relay_input(struct monitor *monitor);
/* Nothing of the output is left. */
bool relay_is_drained(const struct monitor *monitor);
void relay_signal(struct monitor *monitor, uint32_t number);
void relay_size(struct monitor *monitor, uint32_t size);
/* A client cannot write the stream any more: when nobody else reads it, the program shall learn that. */
void relay_close_output(struct monitor *monitor, unsigned index);

#endif
