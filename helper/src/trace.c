#define _GNU_SOURCE
#include <stdio.h>
#include <time.h>

#include "base.h"
#include "run.h"

static int trace_fd = -1;

void trace_to(int fd)
{
    trace_fd = fd;
}

void trace(const char *step)
{
    if (trace_fd >= 0)
        dprintf(trace_fd, "%s %llu\n", step, (unsigned long long)clock_ns(CLOCK_MONOTONIC));
}

int trace_descriptor(void)
{
    return trace_fd;
}
