/* What passes between the program and the rest of the world: its output, its input, signals, the terminal's size. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

#include "base.h"
#include "input.h"
#include "monitor.h"
#include "sys.h"

void relay_open(struct monitor *monitor, bool resumed)
{
    struct run *run = monitor->run;

    for (unsigned i = 0; i < 2; i++) {
        struct stream *stream = &monitor->streams[i];
        if (run->output[i] < 0) {
            stream->source = -1;
            continue;
        }
        stream_open(stream, run, i);
        if (!resumed || !stream_resume(stream))
            continue;
        for (unsigned client = 0; client < MAX_CLIENTS; client++)
            if (run->clients[client] >= 0)
                stream->waiting |= 1u << client;
    }
}

void relay_output(struct monitor *monitor, struct stream *stream, bool ready)
{
    struct run *run = monitor->run;

    if (stream->held == 0) {
        if (stream->source < 0 || !(ready || run->phase == EXITED))
            return;
        enum filled filled = stream_fill(stream);
        if (filled == FILLED_END || (filled == FILLED_NOTHING && run->phase == EXITED))
            stream->source = -1;
        if (filled != FILLED_DATA)
            return;
        for (unsigned i = 0; i < MAX_CLIENTS; i++)
            if (run->clients[i] >= 0)
                stream->waiting |= 1u << i;
    }
    bool logged = log_stream(run, stream->number - 1u, stream->data, stream->held);
    clients_deliver(monitor, stream);
    if (stream->waiting == 0 && logged)
        stream_commit(stream);
    monitor->log_blocked |= !logged;
}

bool relay_is_drained(const struct monitor *monitor)
{
    for (unsigned i = 0; i < 2; i++)
        if (monitor->streams[i].source >= 0 || monitor->streams[i].held > 0)
            return false;
    return true;
}

void relay_input(struct monitor *monitor)
{
    struct run *run = monitor->run;
    struct input_progress *input = &run->shared->input;

    if (run->input_kind == INPUT_NONE)
        return;
    if (input_level(run) > 0) {
        if (!input_move(run) && run->kind == STREAMS_PIPES)
            input->ended = true;
        for (unsigned i = 0; i < MAX_CLIENTS; i++)
            monitor->clients[i].stalled = false;
    }
    clients_acknowledge(monitor);
    if (input->ended && run->input >= 0 && run->kind == STREAMS_PIPES && input_level(run) == 0) {
        close_fd(&run->input);
        channel_tell(run->keeper, MESSAGE_INPUT_CLOSED, 0);
    }
}

void relay_signal(struct monitor *monitor, uint32_t number)
{
    if (monitor->run->program >= 0 && number > 0 && number <= (uint32_t)SIGRTMAX)
        sys_pidfd_send_signal(monitor->run->program, (int)number);
}

void relay_size(struct monitor *monitor, uint32_t size)
{
    struct winsize new_size = {.ws_row = (unsigned short)(size >> 16), .ws_col = (unsigned short)size};

    if (monitor->run->kind == STREAMS_TERMINAL && ioctl(monitor->run->output[0], TIOCSWINSZ, &new_size) == 0)
        events_resized(monitor->run, size);
}

void relay_close_output(struct monitor *monitor, unsigned index)
{
    struct run *run = monitor->run;
    struct message message = {.type = MESSAGE_OUTPUT_CLOSED, .stream = (uint8_t)(index + 1)};

    for (unsigned i = 1; i < MAX_CLIENTS; i++)
        if (run->clients[i] >= 0)
            return;
    /* The log is a reader too, unless it goes with the container. */
    if ((run->log.directory >= 0 && !after_takes_container(run)) || run->kind != STREAMS_PIPES)
        return;
    close_fd(&run->output[index]);
    monitor->streams[index].source = -1;
    channel_send(run->keeper, &message, NULL, 0, NULL, MSG_DONTWAIT);
}
