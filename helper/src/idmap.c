#define _GNU_SOURCE
#include "idmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base.h"
#include "failure.h"
#include "sys.h"

static void write_map(int process, const char *file, const union value *lines)
{
    char text[4096]; /* user_namespaces(7): less than a page, in one write */
    size_t size = 0;
    const char *position = NULL, *line;
    uint32_t index = 0;

    while ((line = list_next(lines, &position, &index)) != NULL) {
        int n = snprintf(text + size, sizeof text - size, "%s\n", line);
        if (n < 0 || (size_t)n >= sizeof text - size)
            fail(LAUNCH, file, E2BIG, NULL, "the map");
        size += (size_t)n;
    }
    if (write_file_at(process, file, text, size) != 0)
        fail(LAUNCH, file, errno, NULL, "%.*s", (int)(size > 0 ? size - 1 : 0), text);
}

/* newuidmap(1): program, pid, then the numbers of all lines. Its environment is empty; its messages go nowhere. */
static pid_t start_program(const char *program, pid_t pid, const union value *lines)
{
    char pid_text[16], *environment[] = {NULL};
    char **arguments = allocate((lines->l.count * 3 + 3) * sizeof *arguments);
    const char *position = NULL, *line;
    uint32_t index = 0;
    size_t count = 0;

    snprintf(pid_text, sizeof pid_text, "%d", (int)pid);
    arguments[count++] = (char *)(uintptr_t)program;
    arguments[count++] = pid_text;
    while ((line = list_next(lines, &position, &index)) != NULL) {
        char *rest = strdup(line);
        for (int i = 0; i < 3 && rest != NULL; i++)
            arguments[count++] = strsep(&rest, " ");
    }
    pid_t child = fork();
    if (child < 0)
        fail(LAUNCH, "fork", errno, NULL, "%s", program);
    if (child == 0) {
        execve(program, arguments, environment);
        _exit(127);
    }
    return child;
}

static void wait_program(const char *step, const char *program, pid_t child)
{
    int status;
    pid_t done;

    do
        done = waitpid(child, &status, 0);
    while (done < 0 && errno == EINTR);
    if (done != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail(LAUNCH, step, EPERM, NULL, "%s", program);
}

void write_id_maps(const struct op *op, pid_t pid)
{
    const char *newuidmap = op->args.user_namespace.newuidmap.s.data, *newgidmap = op->args.user_namespace.newgidmap.s.data;
    const union value *uids = &op->args.user_namespace.uid_map, *gids = &op->args.user_namespace.gid_map;
    char path[32];

    if (newuidmap[0] != '\0' && newgidmap[0] != '\0') {
        pid_t uid_child = start_program(newuidmap, pid, uids), gid_child = start_program(newgidmap, pid, gids);
        wait_program("uid_map", newuidmap, uid_child);
        wait_program("gid_map", newgidmap, gid_child);
        return;
    }
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    autoclose process = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (process < 0)
        fail(LAUNCH, "user_namespace", errno, NULL, "%s", path);
    if (op->args.user_namespace.setgroups.u == 0 && write_file_at(process, "setgroups", "deny", 4) != 0)
        fail(LAUNCH, "setgroups", errno, NULL, "deny");
    write_map(process, "uid_map", uids);
    write_map(process, "gid_map", gids);
}

void make_idmapped_clones(const struct plan *plan, int user_namespace, struct descriptors *clones)
{
    clones->count = 0;
    for (size_t i = 0; i < MAX_SLOTS; i++) {
        const struct slot *slot = &plan->slots[i];
        unsigned recursive = slot->recursive ? AT_RECURSIVE : 0;
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)user_namespace};
        if (!slot->idmap)
            continue;
        if (clones->count == MAX_DESCRIPTORS)
            fail(LAUNCH, "idmap", E2BIG, NULL, "more than %d slots", MAX_DESCRIPTORS);
        int clone = sys_open_tree(slot->fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive);
        if (clone < 0 || sys_mount_setattr(clone, "", AT_EMPTY_PATH | recursive, &attributes) != 0)
            fail(LAUNCH, "idmap", errno, NULL, "%s", slot->path[0] ? slot->path : "a slot");
        clones->fds[clones->count++] = clone;
    }
}
