/* The monitor's state, shared by monitor.c (the life of the container) and clients.c (who is attached). */
#ifndef ESTIBA_MONITOR_H
#define ESTIBA_MONITOR_H

#include "channel.h"
#include "run.h"
#include "stream.h"

enum { MAX_CLIENTS = 16 };

struct client_state {
    int fd; /* -1: free */
    bool known;          /* restored its terminal and left by itself */
    bool stalled;        /* the next of its messages is input that the stage has no room for */
    uint64_t received, acknowledged; /* bytes of its input that were staged, and what it was told of them */
    uint32_t blocked;    /* streams (a bit each) that wait for room in its socket */
};

struct monitor {
    struct run *run;
    struct stream streams[2];
    struct client_state clients[MAX_CLIENTS]; /* [0] is the one that started the container */
    bool log_blocked;    /* the log's disk is full */
};

void clients_open(struct monitor *monitor);
void clients_accept(struct monitor *monitor);
/* Reads one message of the client. */
void client_read(struct monitor *monitor, unsigned index);
/* Tells clients how much of their input reached the program. */
void clients_acknowledge(struct monitor *monitor);
/* Sends what the stream holds to the clients that wait for it. */
void clients_deliver(struct monitor *monitor, struct stream *stream);
/* Sends a message to all clients, and waits a while for the slow. */
void clients_tell(struct monitor *monitor, const struct message *message, const void *data, size_t size);

void monitor_signal(struct monitor *monitor, int number);
void monitor_resize(struct monitor *monitor, uint32_t size);
/* The stream has no reader left: the program shall learn that. */
void monitor_close_output(struct monitor *monitor, unsigned index);

#endif
