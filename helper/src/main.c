/* estiba-init: carries out plans (PROTOCOL.md). `estiba-init COMMAND PLANFD`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "commands.h"
#include "failure.h"
#include "files.h"
#include "initramfs.h"
#include "plan.h"
#include "seal.h"
#include "unpack.h"

static int check_main(const struct plan *plan)
{
    plan_check_run(plan);
    return 0;
}

enum { RUN_SIDES = 1 << SIDE_HOST | 1 << SIDE_CONTAINER | 1 << SIDE_AFTER, HOST_SIDE = 1 << SIDE_HOST,
       TWO_SIDES = 1 << SIDE_HOST | 1 << SIDE_CONTAINER };

static const struct command {
    const char *name;
    int (*main)(const struct plan *);
    unsigned sides;
    bool sealed; /* whether a container's processes could reach this program's file */
} commands[] = {
    {"run", run_main, RUN_SIDES, true},          {"check", check_main, RUN_SIDES, false}, {"attach", attach_main, HOST_SIDE, false},
    {"create", create_main, TWO_SIDES, true},
    {"unpack", unpack_main, HOST_SIDE, false},   {"read", read_main, HOST_SIDE, false},   {"remove", remove_main, HOST_SIDE, false},
    {"image", image_main, HOST_SIDE, false},
    {"files", files_main, TWO_SIDES, true},    {"files-write", files_write_main, TWO_SIDES, true},
    {"guard", guard_main, 1 << SIDE_HOST | 1 << SIDE_AFTER, false},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* A caller may have closed its streams. Their numbers must not be taken by descriptors of ours: what opens them here fails to
 * read or write as a closed one does (EBADF). */
static void hold_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int count, char **arguments)
{
    static struct plan plan;
    const struct command *command;
    uint64_t fd;

    hold_streams();
    if (getpid() == 1 && strcmp(arguments[0], GUEST_INIT) == 0) /* as a kernel starts its initramfs */
        guest_main();
    if (count == 2 && strcmp(arguments[1], "--version") == 0)
        return dprintf(STDOUT_FILENO, "estiba-init, protocol %d\n", PROTOCOL_VERSION) < 0;
    if (count != 3 || (command = find_command(arguments[1])) == NULL ||
        !parse_number(arguments[2], strlen(arguments[2]), 0x7fffffff, &fd)) {
        dprintf(STDERR_FILENO, "estiba: cannot run estiba-init: it takes a command and the descriptor of a plan\n");
        return EXIT_LAUNCH;
    }
    if (command->sealed)
        run_sealed(arguments);
    plan_read(&plan, (int)fd, command->sides);
    close((int)fd);
    return command->main(&plan);
}
