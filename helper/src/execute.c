/* The last step: streams, and the program in the helper's place. */
#define _GNU_SOURCE
#include <elf.h>
#include <string.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base.h"
#include "channel.h"
#include "container.h"
#include "sys.h"

enum { PATH_SIZE = 4096 };

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static const struct {
    uint16_t number;
    const char *name;
} machines[] = {{EM_386, "i386"}, {EM_X86_64, "x86_64"}, {EM_ARM, "arm"}, {EM_AARCH64, "aarch64"}, {243, "riscv64"},
                {EM_S390, "s390x"}, {EM_PPC64, "ppc64le"}};

#if defined(__x86_64__)
static const uint16_t own_machine = EM_X86_64;
#elif defined(__aarch64__)
static const uint16_t own_machine = EM_AARCH64;
#else
#error "unknown machine"
#endif

static const char *machine_name(uint16_t number)
{
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++)
        if (machines[i].number == number)
            return machines[i].name;
    return "another machine";
}

void place_streams(struct container *self)
{
    int high[3];

    if (self->placed)
        return;
    self->placed = true;
    for (int i = 0; i < 3; i++) /* above 2 first: a stream may stand in another's place */
        high[i] = fcntl(self->streams[i], F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < 3; i++)
        if (high[i] < 0 || dup2(high[i], i) < 0)
            fail(LAUNCH, "streams", errno, NULL, "of the program");
    for (int i = 0; i < 3; i++)
        close(high[i]);
    if (self->terminal && ioctl(0, TIOCSCTTY, 0) != 0)
        fail(LAUNCH, "streams", errno, NULL, "the controlling terminal");
}

static char **environment_of(const struct container *self, const struct op *op)
{
    char **environment = list_vector(&op->args.execute.environment, 1);
    size_t count = 0;

    for (; environment[count] != NULL; count++)
        if (strncmp(environment[count], "HOME=", 5) == 0)
            return environment;
    if (self->wants_home) {
        const char *home = self->home ? self->home : "/";
        char *entry = allocate(strlen(home) + 6);
        sprintf(entry, "HOME=%s", home);
        environment[count] = entry;
    }
    return environment;
}

static const char *search_path(char *const *environment)
{
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    return default_path + 5;
}

/* A bundle's filter may forbid faccessat2(2), which is younger than many; then the real ids, which are the same, are asked for. */
static bool may_execute(const char *path)
{
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 || (errno == EPERM && access(path, X_OK) == 0);
}

static bool is_program(const char *path, int *error)
{
    struct stat status;

    if (stat(path, &status) != 0) {
        if (errno == EACCES)
            *error = EACCES;
        return false;
    }
    if (S_ISREG(status.st_mode) && may_execute(path))
        return true;
    if (!S_ISDIR(status.st_mode))
        *error = EACCES;
    return false;
}

/* As execvp(3): the first file that can be executed; one that cannot is remembered. An empty element is the working directory. */
static const char *find_program(const char *name, const char *path)
{
    static char candidate[PATH_SIZE];
    int error = ENOENT;

    if (name[0] == '\0')
        fail(NOT_FOUND, "execute", ENOENT, NULL, "an empty command");
    if (strchr(name, '/') != NULL)
        return name;
    for (;;) {
        size_t size = strcspn(path, ":");
        int used = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)size, path, size ? "/" : "./", name);
        if (used > 0 && (size_t)used < sizeof candidate && is_program(candidate, &error))
            return candidate;
        if (path[size] == '\0')
            break;
        path += size + 1;
    }
    if (error == EACCES)
        fail(CANNOT_EXECUTE, "execute", EACCES, NULL, "%s", name);
    fail(NOT_FOUND, "execute", 0, NULL, "%s: not found in the container's PATH", name);
}

const char *interpreter_of(const char *path, uint16_t *machine)
{
    static char head[PATH_SIZE];
    Elf64_Ehdr header;
    autoclose fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd < 0 ? -1 : read_all(fd, head, sizeof head - 1);

    *machine = EM_NONE;
    if (size > 2 && head[0] == '#' && head[1] == '!') {
        head[size] = '\0';
        char *name = head + 2 + strspn(head + 2, " \t");
        name[strcspn(name, " \t\n")] = '\0';
        return name;
    }
    if (size < (ssize_t)sizeof header || memcmp(head, ELFMAG, SELFMAG) != 0)
        return NULL;
    memcpy(&header, head, sizeof header);
    /* The file's byte order is e_ident's; one that is not ours names a machine that is not ours. */
    bool ours = header.e_ident[EI_DATA] == ELFDATA2LSB;
    *machine = ours ? header.e_machine : __builtin_bswap16(header.e_machine);
    if (!ours || header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr))
        return NULL;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr program;
        if (pread(fd, &program, sizeof program, (off_t)(header.e_phoff + i * sizeof program)) != (ssize_t)sizeof program)
            return NULL;
        if (program.p_type != PT_INTERP || program.p_filesz == 0 || program.p_filesz >= sizeof head)
            continue;
        if (pread(fd, head, program.p_filesz, (off_t)program.p_offset) != (ssize_t)program.p_filesz)
            return NULL;
        head[program.p_filesz] = '\0';
        return head;
    }
    return NULL;
}

static _Noreturn void explain(const char *path, int error)
{
    struct stat status;
    uint16_t machine;
    const char *interpreter;

    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        fail(CANNOT_EXECUTE, "execute", EISDIR, NULL, "%s", path);
    if (error != ENOENT && error != ENOEXEC && error != ELIBBAD)
        fail(CANNOT_EXECUTE, "execute", error, NULL, "%s", path);
    interpreter = interpreter_of(path, &machine);
    if (machine != EM_NONE && machine != own_machine)
        fail(CANNOT_EXECUTE, "execute", error, "choose an image for this machine with --platform", "%s is for %s, this machine is %s",
             path, machine_name(machine), machine_name(own_machine));
    if (error == ENOENT && interpreter != NULL)
        fail(NOT_FOUND, "execute", 0, NULL, "%s: its interpreter %s is not in the container", path, interpreter);
    fail(error == ENOENT ? NOT_FOUND : CANNOT_EXECUTE, "execute", error,
         error == ENOEXEC ? "a script begins with #! and the path of its interpreter" : NULL, "%s", path);
}

void check_program(struct container *self)
{
    const struct op *op = plan_find(self->plan, OP_EXECUTE);
    char **arguments = list_vector(&op->args.execute.arguments, 0);
    int error = ENOENT;

    const char *path = find_program(arguments[0], search_path(environment_of(self, op)));
    if (!is_program(path, &error) && access(path, F_OK) == 0)
        error = EACCES;
    if (!is_program(path, &error))
        fail(error == ENOENT ? NOT_FOUND : CANNOT_EXECUTE, "execute", error, NULL, "%s", path);
}

/* The caller's descriptors that the program gets stay where they are. */
static void hand_over_kept(const struct container *self)
{
    for (const struct op *op = plan_find(self->plan, OP_KEEP); op != NULL; op = plan_next(self->plan, op, OP_KEEP))
        if (fcntl(self->plan->slots[op->args.keep.slot.u].fd, F_SETFD, 0) != 0)
            fail(LAUNCH, "keep", errno, NULL, "a descriptor for the program");
}

void op_execute(struct container *self, const struct op *op)
{
    char **arguments = list_vector(&op->args.execute.arguments, 0), **environment = environment_of(self, op);
    struct message message = {.type = MESSAGE_EXECUTE};

    if (arguments[0] == NULL)
        fail(NOT_FOUND, "execute", ENOENT, NULL, "an empty command");
    if (!self->init)
        place_streams(self);
    const char *path = find_program(arguments[0], search_path(environment));
    if (self->init) {
        start_under_init(self);
        place_streams(self);
    }
    prctl(PR_SET_PDEATHSIG, 0);
    channel_send(self->keeper, &message, NULL, 0, NULL, 0);
    trace("execute");
    /* All of them are close-on-exec already; a filter of the caller's own may forbid this second assurance. */
    (void)sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    hand_over_kept(self);
    execve(path, arguments, environment);
    explain(path, errno);
}
