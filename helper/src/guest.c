/*
 * PID 1 of a guest. It makes what every machine has (guest_boot.c), says READY on the channel, and is for each program's keeper what the
 * monitor is on the host (guest_session.c). When the container's program ends, the machine has nothing more to do.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "commands.h"
#include "failure.h"
#include "initramfs.h"

static struct link channel;
static uint64_t window;
static int blocks = -1; /* the disk of the channel's larger frames, -1 where there is none */
static struct guest_session sessions[MAX_SESSIONS];
static pid_t console; /* of a machine without a host, else 0 */

static void flush(void)
{
    struct pollfd writable = {.fd = channel.fd, .events = POLLOUT};

    while (link_flush(&channel) && link_is_blocked(&channel))
        poll(&writable, 1, -1);
}

static _Noreturn void rest(void)
{
    if (console > 0)
        guest_switch_off();
    for (;;)
        pause(); /* PID 1 must not end; the host ends the machine */
}

/* A failure of PID 1 itself: before there is a channel the kernel's console is all there is. */
static void report(const char *record, size_t size)
{
    struct message message = {.type = MESSAGE_FAILED};

    if (channel.fd < 0) {
        print_record(STDERR_FILENO, record);
        return; /* and the kernel panics: the host sees that */
    }
    link_put(&channel, 0, &message, record, size);
    flush();
    rest();
}

/* A container cannot raise a limit above what its PID 1 has; a kernel starts with little. */
static void raise_limits(void)
{
    struct rlimit files = {1 << 20, 1 << 20}, none = {RLIM_INFINITY, RLIM_INFINITY};

    for (int resource = 0; resource < RLIM_NLIMITS; resource++)
        if (setrlimit((unsigned)resource, resource == RLIMIT_NOFILE ? &files : &none) != 0)
            fail(LAUNCH, "machine", errno, NULL, "the guest's limit %d", resource);
}

/* The host sends no more than a serial line has room for. */
static void tell_read(void)
{
    struct message message = {.type = MESSAGE_READ, .offset = channel.read};

    if (link_put(&channel, 0, &message, NULL, 0))
        channel.told = channel.read;
}

static void say_ready(void)
{
    struct message ready = {.type = MESSAGE_READY, .stream = blocks >= 0, .number = PROTOCOL_VERSION, .offset = window};

    link_put(&channel, 0, &ready, NULL, 0);
    link_flush(&channel);
}

/* Half of a plan is done. What was read is told before, so that it is not told behind `wake`. */
static void rest_ready(void)
{
    tell_read();
    say_ready();
}

/* Both ends count anew from this frame on: what is said here may have been parked by another host's end. */
static void wake(const struct frame *frame, const char *data)
{
    channel.read = channel.received;
    channel.told = 0;
    guest_set_clock(frame->message.offset);
    guest_add_entropy(data, frame->size);
    say_ready();
}

/* The frame for which this one stands. The disk is read past the kernel's memory, in whole sectors. */
static char *take_block(struct frame *frame)
{
    static _Alignas(4096) char content[BLOCK_SIZE];
    size_t size = frame->message.offset;
    off_t at = (off_t)frame->message.number * BLOCK_SIZE;

    if (size < sizeof *frame || size > sizeof *frame + MAX_DATA || pread(blocks, content, (size + 4095) & ~(size_t)4095, at) < (ssize_t)size)
        fail(LAUNCH, "machine", errno, NULL, "a block of the channel");
    memcpy(frame, content, sizeof *frame);
    if (frame->size != size - sizeof *frame || frame->session >= MAX_SESSIONS)
        fail(LAUNCH, "machine", EPROTO, NULL, "a block of the channel");
    return content + sizeof *frame;
}

static void hear_host(void)
{
    struct frame frame;
    char *data;
    int found;

    while ((found = link_take(&channel, &frame, &data)) > 0) {
        if (frame.message.type == MESSAGE_BLOCK)
            data = take_block(&frame);
        if (frame.message.type == MESSAGE_WAKE)
            wake(&frame, data);
        else if (guest_session_hear(&sessions[frame.session], &frame, data))
            rest_ready();
    }
    if (found < 0)
        rest(); /* nobody is there for whom to go on */
    if (channel.read - channel.told >= LINE_WINDOW / 4)
        tell_read();
}

static void turn(void)
{
    static struct pollfd fds[1 + MAX_SESSIONS * GUEST_POLLED];

    fds[0] = (struct pollfd){.fd = channel.fd, .events = link_events(&channel)};
    for (unsigned i = 0; i < MAX_SESSIONS; i++)
        guest_session_watch(&sessions[i], &channel, fds + 1 + i * GUEST_POLLED);
    if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
        return;
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        hear_host();
    for (unsigned i = 0; i < MAX_SESSIONS; i++)
        guest_session_move(&sessions[i], &channel, fds + 1 + i * GUEST_POLLED);
    link_flush(&channel);
}

void guest_main(void)
{
    size_t plan_size, entropy_size, alone_size;

    channel.fd = -1;
    set_failure_sink(report);
    signal(SIGCHLD, SIG_IGN); /* orphans are nobody's; each keeper waits for its own program */
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_DUMPABLE, 0);
    raise_limits();
    guest_load_modules();
    char *plan = guest_take_file(GUEST_PLAN, &plan_size), *entropy = guest_take_file(GUEST_ENTROPY, &entropy_size);
    char *alone = guest_take_file(GUEST_ALONE, &alone_size);
    guest_make_tree();
    if (entropy != NULL)
        guest_add_entropy(entropy, entropy_size);
    if (alone != NULL)
        console = guest_alone(alone, &channel.fd);
    else
        channel.fd = guest_open_channel(&window);
    if (window > 0)
        blocks = open(BLOCKS_DISK, O_RDONLY | O_DIRECT | O_CLOEXEC);
    for (unsigned i = 0; i < MAX_SESSIONS; i++)
        guest_session_reset(&sessions[i], i);
    say_ready();
    if (plan != NULL)
        guest_session_start(&sessions[0], plan, plan_size, false);
    while (sessions[0].phase != EXITED || sessions[0].keeper >= 0)
        turn();
    flush();
    while (console > 0 && waitpid(console, NULL, 0) < 0 && errno == EINTR)
        ;
    kill(-1, SIGKILL);
    guest_sync();
    link_tell(&channel, 0, MESSAGE_SYNCED, 0);
    flush();
    rest();
}
