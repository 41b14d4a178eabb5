/* The container's log in the CRI format: `<RFC 3339 time> stdout|stderr F|P <text>`, P for a part of a line. */
#ifndef ESTIBA_LOG_H
#define ESTIBA_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t log_size(int fd);
void log_cut(int fd, int64_t size);
/* False when not all of it could be written (errno). */
bool log_write(int fd, const char *stream, const char *data, size_t size);

#endif
