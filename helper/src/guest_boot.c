/* What a guest's PID 1 makes before any container: a root, the kernel's file systems, the channel; and the operations of side `guest`. */
#define _GNU_SOURCE
#include <dirent.h>
#include <linux/loop.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "guest.h"
#include "initramfs.h"
#include "sys.h"
#include "terminal.h"

enum { PATH_SIZE = 4096 };

static void make_folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        fail(LAUNCH, "machine", errno, NULL, "folder %s of the guest", path);
}

static void make_folders(const char *path, mode_t mode)
{
    char part[PATH_SIZE];

    for (const char *end = strchr(path + 1, '/'); end != NULL; end = strchr(end + 1, '/')) {
        if ((size_t)(end - path) >= sizeof part)
            fail(LAUNCH, "machine", ENAMETOOLONG, NULL, "%s", path);
        memcpy(part, path, (size_t)(end - path));
        part[end - path] = '\0';
        make_folder(part, 0755);
    }
    make_folder(path, mode);
}

static void mount_kernel(const char *type, const char *target, unsigned long flags)
{
    make_folders(target, 0755);
    if (sys_mount(type, target, type, flags, NULL) != 0)
        fail(LAUNCH, "machine", errno, NULL, "the guest's kernel has no %s", type);
}

void guest_load_modules(void)
{
    char path[32];

    for (unsigned i = 0;; i++) {
        snprintf(path, sizeof path, GUEST_MODULES "/%u", i);
        autoclose fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        /* ENODEV: there is no such hardware. ENOENT: a symbol of a module that found none. What is needed is missed when it is mounted. */
        if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST && errno != ENODEV && errno != ENOENT)
            fail(LAUNCH, "machine", errno, NULL, "module %u of the guest's kernel", i);
        unlink(path);
    }
}

/* pivot_root(2) refuses to leave the initramfs, so a tmpfs takes its place, as switch_root(8) does it. */
void guest_make_tree(void)
{
    umask(0022);
    make_folder("/root", 0700);
    if (sys_mount("tmpfs", "/root", "tmpfs", 0, "mode=755") != 0 || chdir("/root") != 0 ||
        sys_mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        fail(LAUNCH, "machine", errno, NULL, "the guest's root");
    make_folder("/tmp", 01777);
    mount_kernel("devtmpfs", "/dev", MS_NOSUID);
    mount_kernel("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
    mount_kernel("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC);
    mount_kernel("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC);
}

/* --- the channel --- */

/* QEMU's: the virtio-serial port of the name `estiba` (drivers/char/virtio_console.c). */
static int open_port(void)
{
    static const char folder[] = "/sys/class/virtio-ports";
    char path[300], name[16] = "";
    DIR *ports = opendir(folder);
    int found = -1;

    for (struct dirent *port = ports ? readdir(ports) : NULL; port != NULL && found < 0; port = readdir(ports)) {
        snprintf(path, sizeof path, "%s/%s/name", folder, port->d_name);
        autoclose fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, name, sizeof name - 1) <= 0 || strcmp(name, "estiba\n") != 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", port->d_name);
        found = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    }
    if (ports != NULL)
        closedir(ports);
    return found;
}

int guest_open_channel(uint64_t *window)
{
    struct termios before;
    int fd = open_port();

    *window = 0;
    if (fd >= 0)
        return fd;
    *window = LINE_WINDOW;
    fd = open("/dev/ttyS0", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* User-Mode Linux's serial line 0 */
    if (fd < 0 || !terminal_raw(fd, &before))
        fail(LAUNCH, "machine", errno, NULL, "the guest's kernel has no channel to the host");
    return fd;
}

char *guest_take_file(const char *path, size_t *size)
{
    struct stat status;
    autoclose fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) != 0)
        fail(LAUNCH, "machine", errno, NULL, "%s", path);
    char *data = allocate((size_t)status.st_size + 1);
    if (read_all(fd, data, (size_t)status.st_size) != status.st_size || unlink(path) != 0)
        fail(LAUNCH, "machine", errno, NULL, "%s", path);
    *size = (size_t)status.st_size;
    return data;
}

void guest_add_entropy(const char *data, size_t size)
{
    struct {
        int bits, bytes;
        char data[256];
    } pool = {.bits = (int)size * 8, .bytes = (int)size};
    autoclose fd = open("/dev/random", O_WRONLY | O_CLOEXEC);

    if (size > sizeof pool.data)
        fail(LAUNCH, "machine", E2BIG, NULL, "random numbers for the guest");
    memcpy(pool.data, data, size);
    /* What the kernel drew before is forgotten: guests that woke from one park would all have it. */
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) != 0 || (ioctl(fd, RNDRESEEDCRNG) != 0 && errno != ENODATA))
        fail(LAUNCH, "machine", errno, NULL, "random numbers for the guest");
}

void guest_set_clock(uint64_t time)
{
    struct timespec now = {.tv_sec = (time_t)(time / 1000000000u), .tv_nsec = (long)(time % 1000000000u)};

    if (clock_settime(CLOCK_REALTIME, &now) != 0)
        fail(LAUNCH, "machine", errno, NULL, "the guest's clock");
}

void guest_sync(void)
{
    sync();
}

/* --- operations --- */

/* A part of a disk as a disk of its own (loop(4)). It goes with the machine. */
static void attach_part(const char *disk, uint64_t offset, char path[32])
{
    struct loop_config config = {.info = {.lo_offset = offset, .lo_flags = LO_FLAGS_READ_ONLY}};
    autoclose control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    autoclose file = open(disk, O_RDONLY | O_CLOEXEC);
    int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);

    if (file < 0 || number < 0)
        fail(LAUNCH, "guest_mount", errno, NULL, "part of %s", disk);
    snprintf(path, 32, "/dev/loop%d", number);
    autoclose loop = open(path, O_RDONLY | O_CLOEXEC);
    config.fd = (unsigned)file;
    if (loop < 0 || ioctl(loop, LOOP_CONFIGURE, &config) != 0)
        fail(LAUNCH, "guest_mount", errno, NULL, "part of %s", disk);
}

static void op_guest_mount(const struct op *op)
{
    const char *type = op->args.guest_mount.fstype.s.data, *source = op->args.guest_mount.source.s.data;
    const char *target = op->args.guest_mount.target.s.data, *options = op->args.guest_mount.options.s.data;
    unsigned long flags = (unsigned long)op->args.guest_mount.flags.q;
    uint64_t offset = op->args.guest_mount.offset.q;
    char part[32];

    make_folders(target, 0755);
    if (strncmp(source, "PARTLABEL=", 10) == 0 || strncmp(source, "SERIAL=", 7) == 0)
        source = guest_disk(source);
    if (offset > 0) { /* not erofs's own `fsoffset`: two parts of one device would be taken for one file system */
        attach_part(source, offset, part);
        source = part;
    }
    if (sys_mount(source, target, type, flags, options) != 0)
        fail(LAUNCH, "guest_mount", errno, NULL, "%s (%s) on %s", source, type, target);
}

static void op_guest_file(const struct op *op)
{
    const char *path = op->args.guest_file.path.s.data;
    autoclose fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)op->args.guest_file.mode.u);

    if (fd < 0 || write_all(fd, op->args.guest_file.content.b.data, op->args.guest_file.content.b.size) != 0)
        fail(LAUNCH, "guest_file", errno, NULL, "%s", path);
}

static void bind_slot(struct plan *plan, const struct op *op, uint32_t number, int fd, const char *path)
{
    if (number >= MAX_SLOTS || plan->slots[number].fd >= 0)
        fail(LAUNCH, "plan", 0, NULL, "%s binds a slot that cannot be bound", op->schema->name);
    plan->slots[number] = (struct slot){.fd = fd, .path = path};
}

static void bind_path(struct plan *plan, const struct op *op, uint32_t number, const char *path)
{
    int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        fail(LAUNCH, op->schema->name, errno, NULL, "%s", path);
    bind_slot(plan, op, number, fd, path);
}

static void op_guest_program(struct plan *plan, const struct op *op, int program)
{
    if (program < 0)
        fail(LAUNCH, "join", 0, "the container may have ended", "the machine runs no program");
    bind_slot(plan, op, op->args.guest_program.number.u, program, "");
}

/* --- its control groups --- */

static const char groups[] = "/sys/fs/cgroup";

/* The controller of a file such as `pids.max`, for all groups below the root. */
static bool enable_controller(int root, const char *file)
{
    char word[32];
    int size = snprintf(word, sizeof word, "+%.*s", (int)strcspn(file, "."), file);

    return write_file_at(root, "cgroup.subtree_control", word, (size_t)size) == 0;
}

static void set_limits(int root, int group, const union value *limits, bool optional)
{
    const char *position = NULL, *limit;
    uint32_t index = 0;

    while ((limit = list_next(limits, &position, &index)) != NULL) {
        char file[64];
        size_t size = strcspn(limit, " ");
        if (size >= sizeof file || limit[size] == '\0')
            fail(LAUNCH, "guest_cgroup", EINVAL, NULL, "%s", limit);
        memcpy(file, limit, size);
        file[size] = '\0';
        if (!enable_controller(root, file) && optional)
            continue;
        if (write_file_at(group, file, limit + size + 1, strlen(limit + size + 1)) != 0)
            fail(LAUNCH, "guest_cgroup", errno, "the guest's kernel may lack the controller", "%s", limit);
    }
}

static void op_guest_cgroup(struct plan *plan, const struct op *op)
{
    char *path = allocate(PATH_SIZE);
    autoclose root = open(groups, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    snprintf(path, PATH_SIZE, "%s/%s", groups, op->args.guest_cgroup.name.s.data);
    make_folder(path, 0755);
    autoclose group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || group < 0)
        fail(LAUNCH, "guest_cgroup", errno, NULL, "%s", path);
    set_limits(root, group, &op->args.guest_cgroup.limits, false);
    set_limits(root, group, &op->args.guest_cgroup.optional, true);
    bind_path(plan, op, op->args.guest_cgroup.number.u, path);
}

void guest_prepare(struct plan *plan, int program)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        if (op_is(op, OP_GUEST_DIRECTORY))
            make_folders(op->args.guest_directory.path.s.data, (mode_t)op->args.guest_directory.mode.u);
        else if (op_is(op, OP_GUEST_MOUNT))
            op_guest_mount(op);
        else if (op_is(op, OP_GUEST_FILE))
            op_guest_file(op);
        else if (op_is(op, OP_GUEST_SLOT))
            bind_path(plan, op, op->args.guest_slot.number.u, op->args.guest_slot.path.s.data);
        else if (op_is(op, OP_GUEST_CGROUP))
            op_guest_cgroup(plan, op);
        else if (op_is(op, OP_GUEST_PROGRAM))
            op_guest_program(plan, op, program);
    }
}
