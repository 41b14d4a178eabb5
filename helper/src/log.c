#define _GNU_SOURCE
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

int64_t log_size(int fd)
{
    return lseek(fd, 0, SEEK_END);
}

void log_cut(int fd, int64_t size)
{
    (void)!ftruncate(fd, size);
    lseek(fd, size, SEEK_SET);
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

bool log_write(int fd, const char *stream, const char *data, size_t size)
{
    char buffer[8192], head[64];
    size_t used = 0, stamp = time_stamp(head, sizeof head); /* one read(2), one time */
    size_t prefix = stamp + (size_t)snprintf(head + stamp, sizeof head - stamp, " %s F ", stream);

    while (size > 0) {
        const char *newline = memchr(data, '\n', size);
        size_t text = newline ? (size_t)(newline - data) : size;
        head[prefix - 2] = newline ? 'F' : 'P';
        if (used + prefix + text + 1 > sizeof buffer) {
            if (write_all(fd, buffer, used) != 0)
                return false;
            used = 0;
        }
        memcpy(buffer + used, head, prefix);
        used += prefix;
        if (prefix + text + 1 > sizeof buffer) { /* longer than the buffer: written by itself */
            if (write_all(fd, buffer, used) != 0 || write_all(fd, data, text) != 0)
                return false;
            used = 0;
        } else {
            memcpy(buffer + used, data, text);
            used += text;
        }
        buffer[used++] = '\n';
        size -= newline ? text + 1 : text;
        data += newline ? text + 1 : text;
    }
    return write_all(fd, buffer, used) == 0;
}
