/* Mounts inside the container's root. A target is resolved first, then the mount is made, then both meet by descriptor: nothing is
 * detached that may not be attached (closing it would wait for RCU), and no path is looked up twice. */
#define _GNU_SOURCE
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base.h"
#include "container.h"
#include "mounting.h"
#include "resolve.h"
#include "sys.h"

void attach(const char *step, int mount, int target, const char *path)
{
    if (mount < 0 || sys_move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        fail(LAUNCH, step, errno, NULL, "%s", path);
}

/* The last message that the file system left about its failure (fsopen(2)), without its `e `. */
static const char *kernel_message(int fs)
{
    static char text[256];
    ssize_t size = 0, next;

    while ((next = read(fs, text, sizeof text - 1)) > 2)
        size = next;
    if (size == 0)
        return NULL;
    text[size] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return text + 2;
}

void fs_fail(const char *step, int fs, const char *path)
{
    int error = errno;
    const char *message = kernel_message(fs);

    fail(LAUNCH, step, error, NULL, message ? "%s (%s)" : "%s", path, message);
}

static int fs_open_of(const char *type, const char *source)
{
    int fs = sys_fsopen(type, FSOPEN_CLOEXEC);

    if (fs < 0)
        fail(LAUNCH, "mount", errno, NULL, "a file system of type %s", type);
    if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) != 0)
        fs_fail("mount", fs, type);
    return fs;
}

int fs_open(const char *type)
{
    return fs_open_of(type, type);
}

/* `key=value` or `key`. */
static void set_option(int fs, const char *option, const char *target)
{
    char key[64];
    size_t size = strcspn(option, "=");

    if (size >= sizeof key)
        fail(LAUNCH, "mount", EINVAL, NULL, "option %s", option);
    memcpy(key, option, size);
    key[size] = '\0';
    const char *value = option[size] == '=' ? option + size + 1 : NULL;
    if (sys_fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0) != 0)
        fs_fail("mount", fs, target);
}

/* What is mounted on the root itself is not seen after the pivot: an image whose /proc is a link to / would lose its masks. */
void refuse_root(struct container *self, const char *step, int target, const char *path)
{
    struct stat root, there;

    if (fstat(self->root, &root) != 0 || fstat(target, &there) != 0)
        fail(LAUNCH, step, errno, NULL, "%s", path);
    if (root.st_dev == there.st_dev && root.st_ino == there.st_ino)
        fail(LAUNCH, step, EINVAL, "the image may have a symbolic link there", "%s is the container's root", path);
}

/* Kernel file systems belong where they are expected: through a link of the image they, and their masks, would be elsewhere. */
static void refuse_link(struct container *self, const char *path)
{
    struct stat there;
    const char *name;
    autoclose parent = resolve_parent(self->root, path, &name);

    if (parent >= 0 && fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(there.st_mode))
        fail(LAUNCH, "mount", ENOTDIR, "the image has a symbolic link there", "%s", path);
}

/* /proc is the container's own: a link of the image must not lead a mount over it or its masks (CVE-2019-16884). */
void refuse_proc(const char *step, int target, const char *path)
{
    struct statfs fs;

    if (fstatfs(target, &fs) != 0)
        fail(LAUNCH, step, errno, NULL, "%s", path);
    if (fs.f_type == PROC_SUPER_MAGIC)
        fail(LAUNCH, step, EINVAL, "the image may have a symbolic link there", "%s is in the container's /proc", path);
}

static int folder_at(struct container *self, const char *step, const char *path)
{
    int fd = resolve_directory(self->root, path, 0755);

    if (fd < 0)
        fail(LAUNCH, step, errno, NULL, "%s", path);
    refuse_root(self, step, fd, path);
    refuse_proc(step, fd, path);
    return fd;
}

int mount_target(struct container *self, const char *type, const char *path)
{
    if (strcmp(type, "proc") == 0 || strcmp(type, "sysfs") == 0)
        refuse_link(self, path);
    return folder_at(self, "mount", path);
}

int fs_mount(const char *type, const char *source, const char *path, const union value *options, unsigned flags)
{
    const char *position = NULL, *option;
    uint32_t index = 0;
    autoclose fs = fs_open_of(type, source);

    while ((option = list_next(options, &position, &index)) != NULL)
        set_option(fs, option, path);
    if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        fs_fail("mount", fs, path);
    return sys_fsmount(fs, FSMOUNT_CLOEXEC, flags);
}

void op_mount(struct container *self, const struct op *op)
{
    const char *type = op->args.mount.fstype.s.data, *path = op->args.mount.target.s.data;

    autoclose target = mount_target(self, type, path);
    autoclose mount = fs_mount(type, type, path, &op->args.mount.options, (unsigned)op->args.mount.flags.q);
    attach("mount", mount, target, path);
    if (strcmp(type, "proc") == 0)
        self->proc = keep_fd(&mount);
    else if (strcmp(type, "devpts") == 0)
        self->devpts = keep_fd(&mount);
}

int bind_target(struct container *self, int source, const char *path)
{
    struct stat status;

    if (fstat(source, &status) != 0)
        return -1;
    int fd = S_ISDIR(status.st_mode) ? resolve_directory(self->root, path, 0755) : resolve_file(self->root, path);
    if (fd < 0)
        return -1;
    refuse_root(self, "bind", fd, path);
    refuse_proc("bind", fd, path);
    return fd;
}

static void set_attributes(int mount, uint64_t flags, uint64_t propagation, bool recursive, const char *path)
{
    struct mount_attr attributes = {.attr_set = flags, .propagation = propagation & ~(uint64_t)MS_REC};

    if (flags == 0 && propagation == 0)
        return;
    if (sys_mount_setattr(mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attributes) != 0)
        fail(LAUNCH, "bind", errno, NULL, "%s", path);
}

void op_bind(struct container *self, const struct op *op)
{
    const char *path = op->args.bind.target.s.data;
    uint32_t number = op->args.bind.slot.u;
    bool recursive = op->args.bind.recursive.u != 0;
    autoclose target = bind_target(self, self->trees[number], path);

    if (target < 0)
        fail(LAUNCH, "bind", errno, NULL, "%s", path);
    autoclose mount = slot_mount(self, number, recursive);
    if (mount < 0)
        fail(LAUNCH, "bind", errno, NULL, "%s", path);
    set_attributes(mount, op->args.bind.flags.q, op->args.bind.propagation.q, recursive, path);
    attach("bind", mount, target, path);
}

void op_host_bind(struct container *self, const struct op *op)
{
    const char *source = op->args.host_bind.source.s.data, *path = op->args.host_bind.target.s.data;
    bool recursive = op->args.host_bind.recursive.u != 0;
    autoclose origin = open(source, O_PATH | O_CLOEXEC);
    autoclose target = origin < 0 ? -1 : bind_target(self, origin, path);

    if (target < 0)
        fail(LAUNCH, "bind", errno, NULL, "%s", origin < 0 ? source : path);
    autoclose mount = sys_open_tree(origin, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0));
    if (mount < 0)
        fail(LAUNCH, "bind", errno, NULL, "%s", source);
    set_attributes(mount, op->args.host_bind.flags.q, 0, recursive, path);
    attach("bind", mount, target, path);
    if (strcmp(path, "/proc") == 0)
        self->proc = keep_fd(&mount);
}

void op_root(struct container *self, const struct op *op)
{
    uint32_t number = op->args.root.slot.u;
    /* Hooks of a bundle find their programs anywhere on the host: its root is mounted over itself and hides nothing else. */
    bool over_itself = plan_find(self->plan, OP_CALLER) != NULL && !self->shares;
    autoclose scratch = over_itself ? fcntl(self->trees[number], F_DUPFD_CLOEXEC, 3)
                                    : open(self->scratch, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (scratch < 0)
        fail(LAUNCH, "root", errno, NULL, "%s", self->scratch);
    self->root = slot_mount(self, number, true);
    if (self->root < 0)
        fail(LAUNCH, "root", errno, NULL, "%s", self->plan->slots[number].path);
    set_attributes(self->root, op->args.root.flags.q, self->shares || self->borrows ? MS_PRIVATE : 0, true, "/");
    attach("root", self->root, scratch, self->plan->slots[number].path);
    if (self->borrows) /* what is attached to a shared mount is shared, too (mount_namespaces(7)) */
        set_attributes(self->root, 0, MS_PRIVATE, true, "/");
}

/* The first masked folder gets the empty file system itself, the others clones of it. */
static void mask_folder(struct container *self, int target, const char *path)
{
    if (self->mask >= 0) {
        autoclose clone = sys_open_tree(self->mask, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        attach("mask", clone, target, path);
        return;
    }
    autoclose fs = fs_open("tmpfs");
    set_option(fs, "mode=755", path);
    set_option(fs, "size=0k", path);
    if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        fs_fail("mask", fs, path);
    self->mask = sys_fsmount(fs, FSMOUNT_CLOEXEC,
                             MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    attach("mask", self->mask, target, path);
}

/* Missing, or behind something that is no folder: there is nothing to hide. */
static int existing(struct container *self, const char *step, const char *path)
{
    int fd = resolve(self->root, path, O_PATH);

    if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
        fail(LAUNCH, step, errno, NULL, "%s", path);
    return fd;
}

void op_mask(struct container *self, const struct op *op)
{
    const char *path = op->args.mask.path.s.data;
    struct stat status;
    autoclose target = existing(self, "mask", path);

    if (target < 0)
        return;
    if (fstat(target, &status) != 0)
        fail(LAUNCH, "mask", errno, NULL, "%s", path);
    refuse_root(self, "mask", target, path);
    if (S_ISDIR(status.st_mode)) {
        mask_folder(self, target, path);
        return;
    }
    autoclose null = sys_open_tree(self->null, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    attach("mask", null, target, path);
}

void op_readonly(struct container *self, const struct op *op)
{
    const char *path = op->args.readonly.path.s.data;
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    autoclose target = existing(self, "readonly", path);

    if (target < 0)
        return;
    autoclose clone = sys_open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (clone < 0 || sys_mount_setattr(clone, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes) != 0)
        fail(LAUNCH, "readonly", errno, NULL, "%s", path);
    attach("readonly", clone, target, path);
}

/*
 * A descriptor of a folder of the host leads out of the container until execve(2) has closed it: the program that the image names
 * may be /proc/self/fd/5/../../bin/sh (CVE-2024-21626). Before the filter, which may forbid close_range(2).
 */
void let_go_of_host(struct container *self)
{
    const struct op *machine = plan_find(self->plan, OP_MACHINE);
    int kept[14 + MAX_HELD + MAX_SLOTS] = {self->keeper, self->root, self->accounts, self->proc, self->devpts, self->null, self->streams[0],
                                self->streams[1], self->streams[2], trace_descriptor(), self->run->listener, self->run->rest,
                                machine ? slot_descriptor(self->plan, machine->args.machine.park.u) : -1,
                                machine ? slot_descriptor(self->plan, machine->args.machine.park_disk.u) : -1};
    size_t count = 14;

    for (uint32_t i = 0; i < self->held_count; i++)
        kept[count++] = self->held[i];
    for (const struct op *op = plan_find(self->plan, OP_KEEP); op != NULL && count < ARRAY_SIZE(kept); op = plan_next(self->plan, op, OP_KEEP))
        kept[count++] = self->plan->slots[op->args.keep.slot.u].fd;
    if (close_all_but(kept, count) != 0)
        fail(LAUNCH, "pivot", errno, NULL, "descriptors of the host");
    self->host_proc = self->mask = -1;
    memset(self->trees, -1, sizeof self->trees);
}

void pivot_into(int root)
{
    char cwd[2];

    /* pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one and is taken off at once. */
    if (fchdir(root) != 0 || sys_pivot_root(".", ".") != 0)
        fail(LAUNCH, "pivot", errno, NULL, "into the container's root");
    if (sys_umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        fail(LAUNCH, "pivot", errno, NULL, "the host's tree");
    /* A working directory outside the root is shown with a prefix (getcwd(3)). */
    if (syscall(SYS_getcwd, cwd, sizeof cwd) < 0 || cwd[0] != '/')
        fail(LAUNCH, "pivot", 0, NULL, "the working directory is not in the container");
}

void op_pivot(struct container *self, const struct op *op)
{
    (void)op;
    pivot_into(self->root);
    let_go_of_host(self);
}
