/*
 * A guest without a host: a disk that boots on its own. A child of PID 1 takes the host's place at the other end of the channel: the
 * program's streams are the console, the power button is its stop signal, and the machine is switched off when the program has ended.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "guest.h"
#include "initramfs.h"
#include "machine_session.h"
#include "terminal.h"

enum { MAX_BUTTONS = 8, ROWS = 24, COLUMNS = 80 };

static const uint64_t grace = 10000000000u; /* nanoseconds from the stop signal to SIGKILL, as `estiba stop` */

static struct {
    struct link link;
    struct session session;
    int buttons[MAX_BUTTONS];
    unsigned count;
    unsigned terminal, stop_signal;
    uint64_t deadline; /* CLOCK_MONOTONIC, when the button was pressed */
} alone;

static void open_buttons(void)
{
    char path[32];

    for (unsigned i = 0; i < MAX_BUTTONS; i++) {
        snprintf(path, sizeof path, "/dev/input/event%u", i);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0)
            alone.buttons[alone.count++] = fd;
    }
}

static void read_button(int *fd)
{
    struct input_event event;
    ssize_t size;

    while ((size = read(*fd, &event, sizeof event)) == (ssize_t)sizeof event) {
        if (event.type != EV_KEY || event.code != KEY_POWER || event.value != 1 || alone.deadline != 0)
            continue;
        link_tell(&alone.link, 0, MESSAGE_SIGNAL, alone.stop_signal);
        alone.deadline = clock_ns(CLOCK_MONOTONIC) + grace;
    }
    if (size == 0 || (size < 0 && errno != EAGAIN))
        close_fd(fd);
}

static int time_left(void)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    if (alone.deadline == 0 || alone.deadline == UINT64_MAX)
        return -1;
    if (now < alone.deadline)
        return (int)((alone.deadline - now) / 1000000) + 1;
    link_tell(&alone.link, 0, MESSAGE_SIGNAL, SIGKILL);
    alone.deadline = UINT64_MAX;
    return -1;
}

static void open_console(void)
{
    struct winsize size = {0};
    struct termios before;
    int fd = open("/dev/console", O_RDWR | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        fail(LAUNCH, "machine", errno, NULL, "/dev/console");
    if (alone.terminal)
        terminal_raw(fd, &before);
    ioctl(fd, TIOCGWINSZ, &size);
    session_open(&alone.session, 0, (int[]){fd, fd, fd});
    link_tell(&alone.link, 0, MESSAGE_SIZE, size.ws_row > 0 ? (uint32_t)size.ws_row << 16 | size.ws_col : ROWS << 16 | COLUMNS);
}

static void hear(const struct frame *frame, const char *data)
{
    unsigned type = frame->message.type;

    if (type == MESSAGE_FAILED)
        fail_as(data, frame->size);
    if (type != MESSAGE_READY && type != MESSAGE_READ && type != MESSAGE_SYNCED && !session_hear(&alone.session, frame, data))
        fail(LAUNCH, "machine", 0, NULL, "its first process sent what makes no sense");
}

static void turn(void)
{
    struct pollfd fds[1 + SESSION_POLLED + MAX_BUTTONS] = {{.fd = alone.link.fd, .events = link_events(&alone.link)}};
    struct frame frame;
    char *data;
    int found;

    session_watch(&alone.session, &alone.link, fds + 1);
    for (unsigned i = 0; i < alone.count; i++)
        fds[1 + SESSION_POLLED + i] = (struct pollfd){.fd = alone.buttons[i], .events = POLLIN};
    if (poll(fds, 1 + SESSION_POLLED + alone.count, time_left()) < 0)
        return;
    for (unsigned i = 0; i < alone.count; i++)
        if (fds[1 + SESSION_POLLED + i].revents != 0)
            read_button(&alone.buttons[i]);
    while ((found = link_take(&alone.link, &frame, &data)) > 0)
        hear(&frame, data);
    if (found < 0 && alone.session.phase != EXITED)
        fail(LAUNCH, "machine", 0, NULL, "its first process ended");
    session_move(&alone.session, &alone.link, fds + 1);
    link_flush(&alone.link);
}

static void say(const char *record, size_t size)
{
    (void)size;
    print_record(STDERR_FILENO, record);
}

static _Noreturn void alone_main(int fd, const char *words)
{
    prctl(PR_SET_NAME, "estiba-console");
    set_failure_sink(say);
    if (sscanf(words, "%u %u", &alone.terminal, &alone.stop_signal) != 2)
        fail(LAUNCH, "machine", 0, NULL, "its file " GUEST_ALONE " makes no sense");
    alone.link.fd = fd;
    open_buttons();
    open_console();
    while (!session_is_over(&alone.session))
        turn();
    if (alone.session.exit_code != 0)
        dprintf(STDERR_FILENO, "estiba: the program ended with status %d\n", alone.session.exit_code);
    _exit(0);
}

pid_t guest_alone(const char *words, int *channel)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        fail(LAUNCH, "machine", errno, NULL, "its console");
    pid_t pid = fork();
    if (pid < 0)
        fail(LAUNCH, "machine", errno, NULL, "its console");
    if (pid == 0) {
        close(ends[0]);
        alone_main(ends[1], words);
    }
    close(ends[1]);
    *channel = ends[0];
    return pid;
}

void guest_switch_off(void)
{
    guest_sync();
    reboot(RB_POWER_OFF);
    reboot(RB_HALT_SYSTEM); /* a machine that cannot switch itself off */
}
