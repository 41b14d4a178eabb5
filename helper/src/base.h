/* What every file of the helper uses: descriptors that close themselves, whole reads and writes. */
#ifndef ESTIBA_BASE_H
#define ESTIBA_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

void close_fd(int *fd);
/* Closes every descriptor above 2 but these, which it sorts; negative ones are no descriptors. -1 and errno as close_range(2). */
int close_all_but(int *kept, size_t count);
/* `autoclose fd = ...` is closed at the end of its block. */
#define autoclose __attribute__((cleanup(close_fd))) int

/* Gives an `autoclose` descriptor away. */
static inline int keep_fd(int *fd)
{
    int kept = *fd;
    *fd = -1;
    return kept;
}

/* Writes all of it; -1 and errno as write(2). */
int write_all(int fd, const void *data, size_t size);
/* The same at a place of the file, as pwrite(2). */
int write_all_at(int fd, const void *data, size_t size, off_t offset);
/* Reads up to `size` bytes until the end of the file; the number of bytes, or -1. */
ssize_t read_all(int fd, void *data, size_t size);
/* Writes `text` to the file `name` beneath `directory`, in one write(2) as the kernel's control files want it. */
int write_file_at(int directory, const char *name, const char *text, size_t size);

/* A folder's entry, as the kernel gives it. */
struct entry64 { /* getdents64(2) */
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* Memory of the process' whole life (none of it is ever freed: the processes are short or idle). */
void *allocate(size_t size);

/* Decimal, nothing else around it, at most `limit`. */
bool parse_number(const char *text, size_t size, uint64_t limit, uint64_t *number);

uint64_t clock_ns(int clock);

#endif
