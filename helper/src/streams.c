/* The program's standard streams. They are made here, by the container's own root, so that the program may open /dev/stdout again. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "base.h"
#include "channel.h"
#include "container.h"
#include "mounting.h"
#include "sys.h"

static void send_outer_ends(struct container *self, const int *ends, size_t count)
{
    static struct descriptors descriptors;
    struct message message = {.type = MESSAGE_STREAMS};

    for (size_t i = 0; i < count; i++) {
        if (fcntl(ends[i], F_SETFL, O_NONBLOCK) != 0)
            fail(LAUNCH, "streams", errno, NULL, "of the program");
        descriptors.fds[i] = ends[i];
    }
    descriptors.count = count;
    if (channel_send(self->keeper, &message, NULL, 0, &descriptors, 0) != 0)
        fail(LAUNCH, "streams", errno, NULL, "to the keeper");
    for (size_t i = 0; i < count; i++)
        close(ends[i]);
}

static int make_pipe(int *outer, bool input)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        fail(LAUNCH, "streams", errno, NULL, "a pipe");
    *outer = ends[input];
    return ends[!input];
}

void make_streams(struct container *self)
{
    int outer[3] = {-1, -1, -1};

    for (int i = 0; i < 3; i++)
        self->streams[i] = self->null;
    if (self->run->kind == STREAMS_TERMINAL)
        return;
    if (self->run->kind == STREAMS_INHERITED) {
        for (int i = 0; i < 3; i++)
            self->streams[i] = i;
        return;
    }
    if (self->run->kind == STREAMS_NULL) {
        send_outer_ends(self, outer, 0);
        return;
    }
    self->streams[1] = make_pipe(&outer[0], false);
    self->streams[2] = make_pipe(&outer[1], false);
    bool has_input = self->run->input_kind != INPUT_NONE;
    if (has_input)
        self->streams[0] = make_pipe(&outer[2], true);
    send_outer_ends(self, outer, has_input ? 3 : 2);
}

static void bind_console(struct container *self, int slave)
{
    autoclose target = bind_target(self, slave, "/dev/console");

    if (target < 0)
        fail(LAUNCH, "console", errno, NULL, "/dev/console");
    autoclose mount = sys_open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    attach("console", mount, target, "/dev/console");
}

/* The slave by TIOCGPTPEER (ioctl_tty(2)), so that no path of the container is trusted to lead to it. */
void op_console(struct container *self, const struct op *op)
{
    struct winsize size = {.ws_row = (unsigned short)self->run->rows, .ws_col = (unsigned short)self->run->columns};
    static const union value none;
    int locked = 0;

    (void)op;
    if (self->joined && plan_find(self->plan, OP_MACHINE_EXECUTE) != NULL)
        self->devpts = fs_mount("devpts", "devpts", "/dev/pts", &none, 0); /* a jail has none, and needs none: it is attached nowhere */
    else if (self->joined)
        self->devpts = joined_devpts(self);
    int master = self->devpts < 0 ? -1 : openat(self->devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &locked) != 0)
        fail(LAUNCH, "console", errno, NULL, "a pseudo-terminal in /dev/pts");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || ioctl(master, TIOCSWINSZ, &size) != 0)
        fail(LAUNCH, "console", errno, NULL, "a pseudo-terminal in /dev/pts");
    if (!self->joined)
        bind_console(self, slave);
    for (int i = 0; i < 3; i++)
        self->streams[i] = slave;
    self->terminal = true;
    send_outer_ends(self, &master, 1);
}
