/* What a session of a guest can be beside a program: answers about the container's files, and what files of the guest's kernel say. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "files.h"
#include "guest.h"
#include "sys.h"

enum { MAX_SHOWN = 1 << 16 }; /* of one file */

static void write_part(const char *data, size_t size)
{
    uint32_t length = (uint32_t)size;

    if (write_all(STDOUT_FILENO, &length, sizeof length) != 0 || write_all(STDOUT_FILENO, data, size) != 0)
        _exit(1);
}

static void show(const char *path)
{
    static char data[MAX_SHOWN];
    autoclose fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd < 0 ? -1 : read_all(fd, data, sizeof data);

    if (size < 0)
        return; /* it has just ended */
    write_part(path, strlen(path));
    write_part(data, (size_t)size);
}

static int read_files(const struct op *op)
{
    const char *position = NULL, *pattern;
    uint32_t index = 0;

    while ((pattern = list_next(&op->args.guest_read.patterns, &position, &index)) != NULL) {
        glob_t found = {0};
        if (glob(pattern, 0, NULL, &found) == 0)
            for (size_t i = 0; i < found.gl_pathc; i++)
                show(found.gl_pathv[i]);
        globfree(&found);
    }
    return 0;
}

static _Noreturn void work(const struct plan *plan, const int streams[3])
{
    const struct op *reads = plan_find(plan, OP_GUEST_READ), *files = plan_find(plan, OP_GUEST_FILES);

    for (int i = 0; i < 3; i++)
        if (dup2(streams[i], i) < 0)
            _exit(EXIT_LAUNCH);
    if (reads != NULL)
        _exit(read_files(reads));
    _exit(files->args.guest_files.write.u ? files_write_main(plan) : files_main(plan));
}

static void make_pipe(int *reads, int *writes)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        fail(LAUNCH, "streams", errno, NULL, "a pipe");
    *reads = ends[0];
    *writes = ends[1];
}

/* The outer ends, as a keeper hands them over. */
static void send_streams(int connection, const int outer[3], int process)
{
    struct descriptors descriptors = {.fds = {outer[1], outer[2], outer[0], process}, .count = 4};
    struct message message = {.type = MESSAGE_STREAMS};

    for (int i = 0; i < 3; i++)
        if (fcntl(outer[i], F_SETFL, O_NONBLOCK) != 0)
            fail(LAUNCH, "streams", errno, NULL, "of the session");
    if (channel_send(connection, &message, NULL, 0, &descriptors, 0) != 0 || channel_tell(connection, MESSAGE_STARTED, 0) != 0)
        _exit(EXIT_LAUNCH);
    for (int i = 0; i < 3; i++)
        close(outer[i]);
}

void guest_serve(const struct plan *plan, int connection)
{
    int inner[3], outer[3], status;
    struct message message;

    if (plan_find(plan, OP_GUEST_READ) == NULL && plan_find(plan, OP_GUEST_FILES) == NULL)
        return;
    make_pipe(&inner[0], &outer[0]);
    make_pipe(&outer[1], &inner[1]);
    make_pipe(&outer[2], &inner[2]);
    pid_t pid = fork();
    if (pid < 0)
        fail(LAUNCH, "fork", errno, NULL, "a process of the guest");
    if (pid == 0)
        work(plan, inner);
    int process = sys_pidfd_open(pid);
    if (process < 0)
        fail(LAUNCH, "machine", errno, NULL, "a descriptor of a process");
    for (int i = 0; i < 3; i++)
        close(inner[i]);
    send_streams(connection, outer, process);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    channel_tell(connection, MESSAGE_EXITED, (uint32_t)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
    while (channel_receive(connection, &message, NULL, 0, NULL, 0) >= 0 && message.type != MESSAGE_REPORTED)
        ;
    _exit(0);
}
