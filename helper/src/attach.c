/* `estiba-init attach`: the calling process becomes a further client of a container that runs. */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "channel.h"
#include "commands.h"
#include "run.h"

/* Of a connection that ends at once the monitor may have been killed; its successor listens at the same socket. */
enum { ATTEMPTS = 10 };

static int connect_to(const struct plan *plan)
{
    const struct op *op = plan_find(plan, OP_CONNECT);
    int fd = channel_connect(plan->slots[op->args.connect.slot.u].fd, op->args.connect.name.s.data);

    if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED))
        fail(LAUNCH, "monitor", 0, NULL, "is gone: the container has ended, or the monitor was killed");
    if (fd < 0)
        fail(LAUNCH, "monitor", errno, NULL, "cannot be reached");
    return fd;
}

/* Looks at the monitor's first message, and leaves it to client_main(). */
static bool is_answered(int fd)
{
    struct message message;

    if (channel_receive(fd, &message, NULL, 0, NULL, MSG_PEEK) < 0)
        return false;
    if (message.type == MESSAGE_STARTED && message.number != CLIENT_PROTOCOL)
        fail(LAUNCH, "monitor", 0, "\"estiba logs\" shows the output; started again, the container takes clients of this version",
             "is of another version of estiba (protocol %u, not %d)", message.number, CLIENT_PROTOCOL);
    return true;
}

int attach_main(const struct plan *plan)
{
    struct run run;

    set_failure_subject("attach to container", 1);
    plan_check_attach(plan);
    run_close_others(plan);
    run_read(&run, plan);
    for (int i = 0; i < ATTEMPTS; i++) {
        autoclose connection = connect_to(plan);
        if (is_answered(connection))
            return client_main(&run, keep_fd(&connection));
    }
    fail(LAUNCH, "monitor", 0, NULL, "does not answer");
}
