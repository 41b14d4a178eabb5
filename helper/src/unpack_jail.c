/* The jail of the layer commands: a child in namespaces of its own, whose root is a bind of one folder of the store, without network,
 * programs or other processes, that may do nothing but file work (hardening W6). */
#define _GNU_SOURCE
#include "unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "sys.h"

struct jail {
    int root; /* the folder that becomes the jail's root */
    int held; /* a descriptor that lives as long as the jail, or -1 */
    char **uid_map, **gid_map; /* lines `inside outside count` */
    bool setgroups;
    const char *newuidmap, *newgidmap; /* newuidmap(1), or "" to write the maps directly */
    struct jail_options options;
};

_Noreturn void jail_fail(int out, const char *record, int error, const char *path)
{
    char line[4096 * 4 + 128];
    int used = snprintf(line, 96, "failed %s %d ", record, error);
    size_t at = used > 0 ? (size_t)used : 0;
    for (; *path && at < sizeof(line) - 8; path++) {
        unsigned char byte = (unsigned char)*path;
        if (byte > ' ' && byte < 127 && byte != '\\')
            line[at++] = (char)byte;
        else
            at += (size_t)snprintf(line + at, 5, "\\%03o", byte);
    }
    line[at++] = '\n';
    /* The reader may be gone; the status tells as well. */
    ssize_t written = write(out, line, at);
    (void)written;
    _exit(1);
}

/* --- the parent: identifier maps --- */

static int write_map(pid_t pid, const char *file, char *const *lines, const char *text)
{
    char path[64], content[4096];
    size_t at = 0;
    if (text)
        at = (size_t)snprintf(content, sizeof(content), "%s", text);
    for (; lines && *lines; lines++) {
        int used = snprintf(content + at, sizeof(content) - at, "%s\n", *lines);
        if (used < 0 || (size_t)used >= sizeof(content) - at)
            return -1;
        at += (size_t)used;
    }
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return write_file_at(AT_FDCWD, path, content, at);
}

/* `inside outside count`; no scanf(3), which weighs 12 kB. */
static bool split_line(const char *line, char words[3][12])
{
    for (size_t i = 0; i < 3; i++) {
        line += strspn(line, " ");
        size_t size = strcspn(line, " ");
        if (size == 0 || size >= sizeof(words[i]))
            return false;
        memcpy(words[i], line, size);
        words[i][size] = '\0';
        line += size;
    }
    return true;
}

/* newuidmap(1) pid inside outside count ... */
static int run_map_tool(const char *program, pid_t pid, char *const *lines)
{
    enum { WORDS = 3 * 340 };
    static char words[WORDS][12];
    static char *arguments[WORDS + 3];
    char number[16];
    size_t count = 0, at = 2;
    snprintf(number, sizeof(number), "%d", (int)pid);
    arguments[0] = (char *)(uintptr_t)program;
    arguments[1] = number;
    for (; *lines; lines++) {
        if (count + 3 > WORDS || !split_line(*lines, &words[count]))
            return -1;
        for (size_t i = 0; i < 3; i++)
            arguments[at++] = words[count++];
    }
    arguments[at] = NULL;
    pid_t child = fork();
    if (child == 0) {
        char *environment[] = { NULL };
        execve(program, arguments, environment);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    errno = EPERM;
    return status == 0 ? 0 : -1;
}

static int write_maps(const struct jail *jail, pid_t pid)
{
    if (jail->newuidmap[0] && jail->newgidmap[0]) {
        if (run_map_tool(jail->newuidmap, pid, jail->uid_map) < 0)
            return -1;
        return run_map_tool(jail->newgidmap, pid, jail->gid_map);
    }
    if (!jail->setgroups && write_map(pid, "setgroups", NULL, "deny") < 0)
        return -1;
    if (write_map(pid, "uid_map", jail->uid_map, NULL) < 0)
        return -1;
    return write_map(pid, "gid_map", jail->gid_map, NULL);
}

/* --- the child: from the clone to the body --- */

static int errors = 1; /* where failures go: standard output, or standard error where that carries answers */

static void must(int result, const char *step)
{
    if (result < 0)
        jail_fail(errors, step, errno, "");
}

/* Makes the working directory the root of the file system, and nothing else visible. */
static void enter_root(const struct jail *jail)
{
    must(sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "mount-private");
    int tree = sys_open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    must(tree, "mount-bind");
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };
    if (jail->options.read_only)
        attributes.attr_set |= MOUNT_ATTR_RDONLY;
    must(sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attributes), "mount-attributes");
    must(sys_move_mount(tree, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH), "mount-attach");
    must(fchdir(tree), "chdir");
    must(sys_pivot_root(".", "."), "pivot-root");
    must(sys_umount2(".", MNT_DETACH), "unmount");
    must(chdir("/"), "chdir");
    close(tree);
}

/* Links need source and target on one mount, so the whole store is bound; folders that the jail has no business in vanish. */
static void cover_others(const char *const *keep)
{
    DIR *root = opendir("/");
    must(root ? 0 : -1, "cover");
    for (struct dirent *entry; (entry = readdir(root));) {
        bool kept = entry->d_name[0] == '.' || entry->d_type != DT_DIR;
        for (const char *const *name = keep; *name; name++)
            kept = kept || strcmp(entry->d_name, *name) == 0;
        if (!kept)
            must(sys_mount("none", entry->d_name, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=1,mode=0"),
                 "cover");
    }
    closedir(root);
}

void jail_drop(void)
{
    const uint64_t kept = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_FOWNER | 1ull << CAP_FSETID |
                  1ull << CAP_MKNOD | 1ull << CAP_SETFCAP;
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = {
        { .effective = (uint32_t)kept, .permitted = (uint32_t)kept },
        { .effective = (uint32_t)(kept >> 32), .permitted = (uint32_t)(kept >> 32) },
    };
    must((int)syscall(SYS_capset, &header, data), "capabilities");
}

static void limit(int resource, uint64_t value)
{
    struct rlimit now, wanted = { .rlim_cur = value, .rlim_max = value };
    must(getrlimit((unsigned)resource, &now), "limits");
    if (wanted.rlim_max > now.rlim_max) /* only downwards: the caller's own limit is the lesser one */
        wanted.rlim_cur = wanted.rlim_max = now.rlim_max;
    must(setrlimit((unsigned)resource, &wanted), "limits");
}

static _Noreturn void child(const struct jail *jail, int ready, int (*body)(void))
{
    char go;
    must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "parent-death");
    if (read(ready, &go, 1) != 1)
        _exit(1); /* the parent has said why */
    must((int)syscall(SYS_setresgid, 0, 0, 0), "setresgid");
    if (jail->setgroups)
        must(setgroups(0, NULL), "setgroups");
    must((int)syscall(SYS_setresuid, 0, 0, 0), "setresuid");
    must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable");
    enter_root(jail);
    if (jail->options.keep)
        cover_others(jail->options.keep);
    if (jail->held >= 0)
        must(dup3(jail->held, 3, 0) < 0 && jail->held != 3 ? -1 : 0, "descriptors");
    must(sys_close_range(jail->held >= 0 ? 4 : 3, ~0u, 0), "descriptors");
    jail_drop();
    umask(0);
    exit(body());
}

static struct jail jail_of(const struct plan *plan, struct jail_options options)
{
    const struct op *user = plan_find(plan, OP_USER_NAMESPACE);

    if (plan->slots[0].fd < 0)
        fail(LAUNCH, "plan", 0, NULL, "slot 0 is not bound");
    if (user == NULL)
        fail(LAUNCH, "plan", 0, NULL, "it has no user namespace");
    return (struct jail){
        .root = plan->slots[0].fd,
        .held = plan->slots[1].fd,
        .uid_map = list_vector(&user->args.user_namespace.uid_map, 0),
        .gid_map = list_vector(&user->args.user_namespace.gid_map, 0),
        .setgroups = user->args.user_namespace.setgroups.u != 0,
        .newuidmap = user->args.user_namespace.newuidmap.s.data,
        .newgidmap = user->args.user_namespace.newgidmap.s.data,
        .options = options,
    };
}

int jail_run(const struct plan *plan, struct jail_options options, int (*body)(void))
{
    const struct jail jail = jail_of(plan, options);
    int ready[2];

    errors = options.errors;
    /* Before the clone: the child's working directory then is in its own copy of the mounts, where a bind is allowed. */
    must(fchdir(jail.root), "chdir");
    must(pipe2(ready, O_CLOEXEC), "pipe");
    signal(SIGPIPE, SIG_IGN);
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID | SIGCHLD, NULL,
                   NULL, NULL, NULL);
    must(pid, "clone");
    if (pid == 0) {
        close(ready[1]);
        child(&jail, ready[0], body);
    }
    close(ready[0]);
    if (write_maps(&jail, pid) < 0) {
        int error = errno;
        close(ready[1]);
        waitpid(pid, NULL, 0);
        jail_fail(errors, "id-maps", error, "");
    }
    ssize_t written = write(ready[1], "", 1);
    (void)written; /* a dead child shows in its status */
    close(ready[1]);
    /* The child alone holds the streams, so that its end is seen at the other side. */
    close(0);
    close(1);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- the last lock --- */

static void lock_files(const int *allowed, size_t count, bool read_only)
{
    struct landlock_ruleset_attr attributes = { .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 };
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 2) /* absent, switched off, or without REFER: links between folders would be refused */
        return;
    attributes.handled_access_fs |= 1ull << 13; /* LANDLOCK_ACCESS_FS_REFER */
    if (abi >= 3)
        attributes.handled_access_fs |= 1ull << 14; /* LANDLOCK_ACCESS_FS_TRUNCATE */
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes.handled_access_fs), 0);
    must(rules, "landlock");
    for (size_t i = 0; i < count; i++) {
        struct landlock_path_beneath_attr beneath = {
            .allowed_access = read_only ? LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR
                            : attributes.handled_access_fs & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE,
            .parent_fd = allowed[i],
        };
        must((int)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0), "landlock");
    }
    must((int)syscall(SYS_landlock_restrict_self, rules, 0), "landlock");
    close(rules);
}

void jail_lock(const int *allowed, size_t count, bool read_only, uint64_t file_size)
{
    limit(RLIMIT_FSIZE, file_size);
    limit(RLIMIT_NOFILE, 1024);
    limit(RLIMIT_CORE, 0);
    signal(SIGXFSZ, SIG_IGN); /* EFBIG says it with the path */
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no-new-privileges");
    lock_files(allowed, count, read_only);
    jail_filter();
}
