#define _GNU_SOURCE
#include "base.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "failure.h"
#include "sys.h"

void close_fd(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
        *fd = -1;
    }
}

static int compare_fds(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;
    return (left > right) - (left < right);
}

int close_all_but(int *kept, size_t count)
{
    unsigned first = 3;

    qsort(kept, count, sizeof *kept, compare_fds);
    for (size_t i = 0; i < count; i++) {
        if (kept[i] < (int)first)
            continue;
        if ((unsigned)kept[i] > first && sys_close_range(first, (unsigned)kept[i] - 1, 0) != 0)
            return -1;
        first = (unsigned)kept[i] + 1;
    }
    return sys_close_range(first, ~0U, 0);
}

int write_all(int fd, const void *data, size_t size)
{
    const char *next = data;

    while (size > 0) {
        ssize_t n = write(fd, next, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        next += n;
        size -= (size_t)n;
    }
    return 0;
}

int write_all_at(int fd, const void *data, size_t size, off_t offset)
{
    const char *next = data;

    while (size > 0) {
        ssize_t n = pwrite(fd, next, size, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        next += n;
        offset += n;
        size -= (size_t)n;
    }
    return 0;
}

ssize_t read_all(int fd, void *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = read(fd, (char *)data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int write_file_at(int directory, const char *name, const char *text, size_t size)
{
    autoclose fd = openat(directory, name, O_WRONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, size);
    if (n < 0)
        return -1;
    if ((size_t)n != size) {
        errno = EIO;
        return -1;
    }
    return 0;
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);

    if (memory == NULL)
        fail(LAUNCH, "memory", ENOMEM, NULL, "%zu bytes", size);
    return memory;
}

bool parse_number(const char *text, size_t size, uint64_t limit, uint64_t *number)
{
    uint64_t value = 0;

    if (size == 0 || size > 20)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        unsigned digit = (unsigned)(text[i] - '0');
        if (value > (limit - digit) / 10 || digit > limit)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

uint64_t clock_ns(int clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
