/* estiba-init guard: writes a text to a descriptor when standard input ends, whatever ended it. Who stops something for a while (a
 * container's freezer) starts a guard before: so it goes on also when he is killed. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

int guard_main(const struct plan *plan)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP};
    const struct op *op;
    char ready = 1;

    plan_check_guard(plan);
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    setsid(); /* what ends the caller's group must not end this process */
    int status = write_all(STDOUT_FILENO, &ready, 1) == 0 ? 0 : 1;
    while (read_all(STDIN_FILENO, &ready, 1) == 1)
        ;
    for (op = plan_find(plan, OP_GUARD); op != NULL; op = plan_next(plan, op, OP_GUARD)) {
        const char *text = op->args.guard.text.s.data;
        if (write_all(plan->slots[op->args.guard.slot.u].fd, text, strlen(text)) != 0)
            status = 1;
    }
    for (op = plan_find(plan, OP_FORGET); op != NULL; op = plan_next(plan, op, OP_FORGET))
        if (unlinkat(plan->slots[op->args.forget.slot.u].fd, op->args.forget.name.s.data, 0) != 0 && errno != ENOENT)
            status = 1;
    return status;
}
