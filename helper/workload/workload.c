/*
 * The workload of `estiba compare`: one small static program that is the same on every rung, from a container on the host's
 * kernel to a machine whose every part is emulated.
 *
 *   estiba-workload start      says so and ends: time to the first instruction, and to the end
 *   estiba-workload rest       says so and waits to be killed: memory at rest
 *   estiba-workload measure    prints `name value` lines; what cannot be measured here is `name -`
 *   estiba-workload exit       ends: the child of the measurement of processes
 *
 * Every measurement runs for a share of a second by the clock of the kernel it runs on, whatever the machine's speed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, PAGE = 4096, FILE_BLOCKS = 16 };

static const double SHARE = 0.2; /* seconds of one measurement */
static const char FILE_NAME[] = "/estiba-workload.data";
static char block[BLOCK];

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void tell(const char *name, double value)
{
    if (value > 0)
        printf("%s %.3f\n", name, value);
    else
        printf("%s -\n", name);
    fflush(stdout);
}

/* Millions of rounds in a second of what programs are made of: arithmetic (xorshift64*), a table in memory, a branch on what was read.
 * Arithmetic in registers alone a translated program does as fast as any. */
static double processor(void)
{
    static uint32_t table[1 << 14];
    volatile uint64_t sink;
    uint64_t x = 88172645463325252u, rounds = 0;
    double begun = now(), passed;

    do {
        for (int i = 0; i < 100000; i++) {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            uint32_t *cell = &table[x >> 50];
            if (*cell & 1)
                *cell += (uint32_t)x;
            else
                *cell ^= (uint32_t)(x >> 32);
            x *= 2685821657736338717u;
        }
        rounds += 100000;
        passed = now() - begun;
    } while (passed < SHARE);
    sink = x + table[0];
    (void)sink;
    return (double)rounds / passed / 1e6;
}

/* Nanoseconds of the cheapest system call; by syscall(2), so that no library keeps the answer. */
static double system_call(void)
{
    uint64_t calls = 0;
    double begun = now(), passed;

    do {
        for (int i = 0; i < 200; i++)
            syscall(SYS_getppid);
        calls += 200;
        passed = now() - begun;
    } while (passed < SHARE);
    return passed / (double)calls * 1e9;
}

static int spawn_and_wait(const char *self)
{
    char *const arguments[] = {(char *)(uintptr_t)self, (char *)(uintptr_t) "exit", NULL};
    char *const environment[] = {NULL};
    int status = 0;
    pid_t pid = vfork();

    if (pid == 0) {
        execve("/proc/self/exe", arguments, environment);
        execve(self, arguments, environment);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

/* Microseconds of vfork, execve, exit and wait of this program. */
static double process(const char *self)
{
    int made = 0;
    double begun = now(), passed;

    do {
        if (spawn_and_wait(self) != 0)
            return 0;
        made++;
        passed = now() - begun;
    } while (passed < SHARE);
    return passed / made * 1e6;
}

static double megabytes(double bytes, double seconds)
{
    return bytes / seconds / 1e6;
}

/* Megabytes in a second: written in blocks and brought to the disk. */
static double disk_write(int fd)
{
    double begun = now(), passed = 0, written = 0;

    for (int i = 0; i < FILE_BLOCKS && passed < 5 * SHARE; i++) {
        memset(block, i + 1, sizeof block);
        if (pwrite(fd, block, sizeof block, (off_t)i * BLOCK) != BLOCK)
            return 0;
        written += BLOCK;
        passed = now() - begun;
    }
    if (fdatasync(fd) != 0)
        return 0;
    return megabytes(written, now() - begun);
}

static void forget_pages(int fd)
{
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* The same file read again, from the disk. */
static double disk_read(int fd, off_t size)
{
    double begun, passed = 0, taken = 0;

    forget_pages(fd);
    begun = now();
    for (off_t at = 0; at < size && passed < 5 * SHARE; at += BLOCK) {
        if (pread(fd, block, BLOCK, at) <= 0)
            return 0;
        taken += BLOCK;
        passed = now() - begun;
    }
    return taken > 0 ? megabytes(taken, now() - begun) : 0;
}

static off_t next_page(uint64_t *state, off_t size)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (off_t)((*state >> 33) % (uint64_t)(size / PAGE)) * PAGE;
}

/* Microseconds of reading one page somewhere in the file, not from memory. */
static double disk_random_read(int fd, off_t size)
{
    uint64_t state = 1;
    int done = 0;
    double begun, passed;

    if (size < PAGE)
        return 0;
    forget_pages(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    begun = now();
    do {
        if (pread(fd, block, PAGE, next_page(&state, size)) != PAGE)
            return 0;
        done++;
        passed = now() - begun;
    } while (passed < SHARE && done < 1000);
    return passed / done * 1e6;
}

/* Microseconds of writing one page somewhere in the file, brought to the disk each time. */
static double disk_random_write(int fd, off_t size)
{
    uint64_t state = 7;
    int done = 0;
    double begun = now(), passed;

    if (size < PAGE)
        return 0;
    do {
        if (pwrite(fd, block, PAGE, next_page(&state, size)) != PAGE || fdatasync(fd) != 0)
            return 0;
        done++;
        passed = now() - begun;
    } while (passed < SHARE);
    return passed / done * 1e6;
}

static void disk(void)
{
    struct {
        const char *name;
        double value;
    } figures[] = {{"disk-write", 0}, {"disk-read", 0}, {"disk-random-write", 0}, {"disk-random-read", 0}};
    int fd = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd >= 0) {
        unlink(FILE_NAME);
        figures[0].value = disk_write(fd);
        off_t size = lseek(fd, 0, SEEK_END);
        figures[1].value = disk_read(fd, size);
        figures[2].value = disk_random_write(fd, size);
        figures[3].value = disk_random_read(fd, size);
        close(fd);
    }
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        tell(figures[i].name, figures[i].value);
}

/* A connection over the loopback interface; ends[0] is the other process's. 0 on success. */
static int connect_loopback(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ends[0] = ends[1] = -1;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        return -1;
    ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ends[1] < 0 || connect(ends[1], (struct sockaddr *)&address, size) != 0)
        return -1;
    ends[0] = accept(listener, NULL, NULL);
    close(listener);
    return ends[0] < 0 ? -1 : 0;
}

/* The other side: one byte is answered by one byte; after a 2 it sends until it is killed. */
static _Noreturn void serve(int fd)
{
    char byte;

    while (read(fd, &byte, 1) == 1 && byte == 1)
        if (write(fd, &byte, 1) != 1)
            _exit(1);
    while (write(fd, block, 65536) > 0)
        ;
    _exit(0);
}

static double round_trip(int fd)
{
    char byte = 1;
    int done = 0;
    double begun = now(), passed;

    do {
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
            return 0;
        done++;
        passed = now() - begun;
    } while (passed < SHARE);
    return passed / done * 1e6;
}

static double throughput(int fd)
{
    char byte = 2;
    double begun = now(), passed, taken = 0;

    if (write(fd, &byte, 1) != 1)
        return 0;
    do {
        ssize_t n = read(fd, block, 65536);
        if (n <= 0)
            return 0;
        taken += (double)n;
        passed = now() - begun;
    } while (passed < SHARE);
    return megabytes(taken, passed);
}

static void network(void)
{
    double delay = 0, speed = 0;
    int ends[2];

    signal(SIGPIPE, SIG_IGN);
    if (connect_loopback(ends) == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            close(ends[1]);
            serve(ends[0]);
        }
        close(ends[0]);
        if (pid > 0) {
            delay = round_trip(ends[1]);
            speed = throughput(ends[1]);
            close(ends[1]);
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
    }
    tell("network-delay", delay);
    tell("network-speed", speed);
}

static int measure(const char *self)
{
    tell("processor", processor());
    tell("system-call", system_call());
    tell("process", process(self));
    disk();
    network();
    return 0;
}

static _Noreturn void rest(void)
{
    puts("rest");
    fflush(stdout);
    for (;;)
        pause();
}

int main(int count, char **arguments)
{
    const char *task = count == 2 ? arguments[1] : "";

    if (strcmp(task, "exit") == 0)
        return 0;
    if (strcmp(task, "start") == 0)
        return puts("start") < 0 || fflush(stdout) != 0;
    if (strcmp(task, "rest") == 0)
        rest();
    if (strcmp(task, "measure") == 0)
        return measure(arguments[0]);
    fprintf(stderr, "estiba-workload: it takes one word: start, rest, measure or exit\n");
    return 2;
}
