#define _GNU_SOURCE
#include "log.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "run.h"

enum { BUFFER = 16384, SMALLEST_FILE = 256 };

static const char *const names[] = {"stdout", "stderr"};

static bool open_file(struct log *log)
{
    log->fd = openat(log->directory, log->name, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
    return log->fd >= 0;
}

/* Takes back a write that was not finished. */
static void undo(struct run *run)
{
    struct log_state *state = &run->shared->log;

    if (run->log.fd >= 0)
        (void)!ftruncate(run->log.fd, state->before.size);
    run->shared->output[state->before.stream].logged = state->before.logged;
    state->dropped[state->before.stream] = state->before.dropped;
    atomic_thread_fence(memory_order_seq_cst);
    state->before.writing = false;
}

/* A machine that lost power may leave half a record. */
static void end_torn_record(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';

    if (end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n')
        (void)!write(fd, "\n", 1);
}

bool log_open(struct run *run)
{
    bool opened = open_file(&run->log);
    int error = errno;

    if (run->shared->log.before.writing)
        undo(run);
    if (opened)
        end_torn_record(run->log.fd);
    errno = error;
    return opened;
}

/* The lowest number that is free is where the files may move up to: also when a killed monitor left a hole. */
static bool rotate(struct log *log)
{
    char from[300], to[300];
    uint32_t last = 1;

    for (; last + 1 < log->max_files; last++) {
        snprintf(to, sizeof to, "%s.%u", log->name, last);
        if (faccessat(log->directory, to, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
            break;
    }
    if (log->max_files == 1)
        unlinkat(log->directory, log->name, 0);
    for (uint32_t i = last; log->max_files > 1 && i > 0; i--) {
        snprintf(to, sizeof to, "%s.%u", log->name, i);
        snprintf(from, sizeof from, i > 1 ? "%s.%u" : "%s", log->name, i - 1);
        renameat(log->directory, from, log->directory, to);
    }
    close_fd(&log->fd);
    return open_file(log);
}

static size_t time_stamp(char *text, size_t size)
{
    struct timespec now;
    struct tm parts;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    return (size_t)snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                            parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec);
}

/* Fills the buffer with records of as much of the data as there is room for; returns how much that is. */
static size_t format(char *buffer, size_t room, size_t *used, const char *stream, const char *data, size_t size)
{
    char head[64];
    size_t stamp = time_stamp(head, sizeof head), done = 0;
    size_t prefix = stamp + (size_t)snprintf(head + stamp, sizeof head - stamp, " %s F ", stream);

    while (done < size && *used + prefix + 1 < room) {
        const char *newline = memchr(data + done, '\n', size - done);
        size_t text = newline ? (size_t)(newline - data) - done : size - done, left = room - *used - prefix - 1;
        bool whole = text <= left;
        if (!whole && *used > 0)
            break;
        if (!whole)
            text = left;
        head[prefix - 2] = whole && newline ? 'F' : 'P';
        memcpy(buffer + *used, head, prefix);
        memcpy(buffer + *used + prefix, data + done, text);
        *used += prefix + text;
        buffer[(*used)++] = '\n';
        done += text + (whole && newline);
    }
    return done;
}

static size_t format_dropped(char *buffer, size_t room, const char *stream, uint64_t bytes)
{
    size_t stamp = time_stamp(buffer, room);

    return stamp + (size_t)snprintf(buffer + stamp, room - stamp, " %s F:dropped %llu bytes were dropped here: the log could not be written\n",
                                    stream, (unsigned long long)bytes);
}

/* One write of whole records, so that files are rotated between them. */
static bool append(struct run *run, unsigned stream, const char *data, size_t size)
{
    static char buffer[BUFFER];
    struct log *log = &run->log;
    struct log_state *state = &run->shared->log;
    uint32_t *logged = &run->shared->output[stream].logged;
    size_t room = log->max_size > 0 && log->max_size < sizeof buffer ? (size_t)log->max_size : sizeof buffer;
    size_t used = 0, done = 0;

    room = room < SMALLEST_FILE ? SMALLEST_FILE : room;
    if (state->dropped[stream] > 0)
        used = format_dropped(buffer, room, names[stream], state->dropped[stream]);
    else
        done = format(buffer, room, &used, names[stream], data, size);
    if (log->fd < 0 && !open_file(log))
        return false;
    int64_t end = lseek(log->fd, 0, SEEK_END);
    if (log->max_size > 0 && end > 0 && (uint64_t)end + used > log->max_size) {
        if (!rotate(log))
            return false;
        end = 0;
    }
    state->before.size = end;
    state->before.dropped = state->dropped[stream];
    state->before.logged = *logged;
    state->before.stream = (uint8_t)stream;
    atomic_thread_fence(memory_order_seq_cst);
    state->before.writing = true;
    atomic_thread_fence(memory_order_seq_cst);
    if (write_all(log->fd, buffer, used) != 0) {
        undo(run);
        return false;
    }
    *logged += (uint32_t)done;
    state->dropped[stream] = 0;
    atomic_thread_fence(memory_order_seq_cst);
    state->before.writing = false;
    return true;
}

/* A shortage that passes loses nothing, for the program waits; but it does not wait for ever. */
static bool has_patience(const struct run *run, uint64_t now)
{
    return now - run->log.failing < PATIENCE_NS && run->phase != EXITED;
}

bool log_stream(struct run *run, unsigned stream, const char *data, size_t size)
{
    struct log *log = &run->log;
    uint32_t *logged = &run->shared->output[stream].logged;

    while (log->directory >= 0 && *logged < size) {
        uint64_t now = log->failing ? clock_ns(CLOCK_MONOTONIC) : 0;
        bool retry = log->failing == 0 || now - log->tried >= RETRY_MS * 1000000u || run->phase == EXITED;
        if (retry && append(run, stream, data + *logged, size - *logged)) {
            log->failing = 0;
            continue;
        }
        if (log->failing == 0)
            log->failing = now = clock_ns(CLOCK_MONOTONIC);
        if (retry)
            log->tried = now;
        if (has_patience(run, now))
            return false;
        run->shared->log.dropped[stream] += size - *logged;
        *logged = (uint32_t)size;
    }
    return true;
}

void log_end(struct run *run)
{
    for (unsigned stream = 0; stream < 2; stream++)
        if (run->log.directory >= 0 && run->shared->log.dropped[stream] > 0)
            append(run, stream, NULL, 0);
}
