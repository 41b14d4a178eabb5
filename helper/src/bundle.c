/* Mounts, devices and propagation as a bundle's config.json orders them (runtime-spec, config.md#mounts): whatever a host's root could
 * mount, but never on another place than the one that it names. */
#define _GNU_SOURCE
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base.h"
#include "container.h"
#include "mounting.h"
#include "resolve.h"
#include "sys.h"

void op_file_system(struct container *self, const struct op *op)
{
    const char *type = op->args.file_system.fstype.s.data, *path = op->args.file_system.target.s.data;
    bool copy = op->args.file_system.copy.u != 0;

    autoclose target = mount_target(self, type, path);
    autoclose before = copy ? openat(target, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    autoclose mount = fs_mount(type, op->args.file_system.source.s.data, path, &op->args.file_system.options,
                               (unsigned)op->args.file_system.flags.q);
    attach("mount", mount, target, path);
    if (copy)
        fill_folder(before, mount, path);
    if (strcmp(type, "proc") == 0)
        self->proc = keep_fd(&mount);
    else if (strcmp(type, "devpts") == 0)
        self->devpts = keep_fd(&mount);
}

/* What file systems that show a container its own limits put over the kernel's files. */
static bool may_cover_proc(const char *path)
{
    static const char *const files[] = {"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat",     "/proc/swaps",
                                        "/proc/uptime",  "/proc/loadavg",   "/proc/slabinfo", "/proc/net/dev",
                                        "/proc/sys/kernel/ns_last_pid",     "/proc/sys/crypto/fips_enabled"};

    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (strcmp(path, files[i]) == 0)
            return true;
    return false;
}

/* A procfs itself may be the source: a container in the host's PID namespace gets the host's. */
static bool is_proc(int tree)
{
    struct statfs fs;

    return fstatfs(tree, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

void op_tree(struct container *self, const struct op *op)
{
    const char *path = op->args.tree.target.s.data;
    uint32_t number = op->args.tree.slot.u;
    autoclose target = may_cover_proc(path) ? resolve(self->root, path, O_PATH) : bind_target(self, self->trees[number], path);

    if (target < 0)
        fail(LAUNCH, "bind", errno, NULL, "%s", path);
    autoclose mount = slot_mount(self, number, op->args.tree.recursive.u != 0);
    if (mount < 0)
        fail(LAUNCH, "bind", errno, NULL, "%s", self->plan->slots[number].path);
    attach("bind", mount, target, path);
    if (strcmp(path, "/proc") == 0 && is_proc(mount))
        self->proc = keep_fd(&mount);
    else if (strcmp(path, "/dev/pts") == 0)
        self->devpts = keep_fd(&mount);
}

void op_attributes(struct container *self, const struct op *op)
{
    const char *path = op->args.attributes.target.s.data;
    struct mount_attr attributes = {
        .attr_set = op->args.attributes.set.q,
        .attr_clr = op->args.attributes.clear.q,
        .propagation = op->args.attributes.propagation.q,
    };
    autoclose target = resolve(self->root, path, O_PATH);

    if (target < 0 ||
        sys_mount_setattr(target, "", AT_EMPTY_PATH | (op->args.attributes.recursive.u ? AT_RECURSIVE : 0), &attributes) != 0)
        fail(LAUNCH, "mount", errno, NULL, "options of %s", path);
}

void op_device(struct container *self, const struct op *op)
{
    const char *path = op->args.device.path.s.data, *name;
    mode_t mode = (mode_t)op->args.device.mode.u;
    autoclose parent = resolve_parent(self->root, path, &name);

    if (parent < 0)
        fail(LAUNCH, "device", errno, NULL, "%s", path);
    if (mknodat(parent, name, mode, makedev(op->args.device.major.u, op->args.device.minor.u)) != 0) {
        if (errno == EEXIST)
            return;
        fail(LAUNCH, "device", errno, NULL, "%s", path);
    }
    /* It was made just now, so the name is no link; mknod(2) took the umask from the mode. */
    if (fchmodat(parent, name, mode & 07777, 0) != 0 ||
        fchownat(parent, name, op->args.device.uid.u, op->args.device.gid.u, AT_SYMLINK_NOFOLLOW) != 0)
        fail(LAUNCH, "device", errno, NULL, "%s", path);
}

void op_propagation(struct container *self, const struct op *op)
{
    (void)self;
    if (sys_mount(NULL, "/", NULL, (unsigned long)op->args.propagation.flags.q, NULL) != 0)
        fail(LAUNCH, "propagation", errno, NULL, "of the root");
}

void op_change_root(struct container *self, const struct op *op)
{
    (void)op;
    if (fchdir(self->root) != 0 || chroot(".") != 0)
        fail(LAUNCH, "change_root", errno, NULL, "into the container's root");
    let_go_of_host(self);
}

void op_move_root(struct container *self, const struct op *op)
{
    (void)op;
    if (fchdir(self->root) != 0 || sys_mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        fail(LAUNCH, "move_root", errno, NULL, "into the container's root");
    let_go_of_host(self);
}
