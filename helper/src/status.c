/* The status file (PROTOCOL.md): lines that a crash cannot tear, for each is one short append. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "run.h"

/* Field 22 of /proc/<pid>/stat (proc(5)): with the pid it names a process for good, also when the pid is used again. */
static unsigned long long start_time(pid_t pid)
{
    char path[32], text[1024];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    autoclose fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read_all(fd, text, sizeof text - 1);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    const char *field = strrchr(text, ')'); /* the second field may hold blanks and brackets */
    for (int i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    return field != NULL ? strtoull(field, NULL, 10) : 0;
}

static void append(int fd, const char *line, size_t size)
{
    if (lseek(fd, 0, SEEK_END) >= 0)
        (void)!write(fd, line, size);
}

void status_running(const struct run *run)
{
    char line[128];

    if (run->status < 0)
        return;
    int size = snprintf(line, sizeof line, "running %d %llu %llu\n", (int)run->pid, start_time(run->pid),
                        (unsigned long long)clock_ns(CLOCK_REALTIME));
    append(run->status, line, (size_t)size);
}

/* Before `exited`: who sees that line knows why. */
void status_failed(const struct run *run)
{
    char line[1024] = "failed ";
    size_t prefix = strlen(line);

    if (run->status < 0)
        return;
    size_t size = prefix + record_sentence(run->record, line + prefix, sizeof line - prefix - 1);
    line[size++] = '\n';
    append(run->status, line, size);
}

void status_exited(const struct run *run, bool oom)
{
    char line[128];

    if (run->status < 0)
        return;
    int size = snprintf(line, sizeof line, "exited %d %d %llu %d\n", run->exit_code, run->exit_signal,
                        (unsigned long long)clock_ns(CLOCK_REALTIME), oom);
    append(run->status, line, (size_t)size);
}
