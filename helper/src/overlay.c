/* The root as an overlay of layers (Documentation/filesystems/overlayfs.rst), with `userxattr`: one layout of marks on disk serves
 * root and ordinary users. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base.h"
#include "container.h"
#include "mounting.h"
#include "sys.h"

enum { MAX_LAYERS = 500 }; /* OVL_MAX_STACK */

static void enter(int folder, const char *what)
{
    if (folder < 0 || fchdir(folder) != 0)
        fail(LAUNCH, "overlay", errno, NULL, "%s", what);
}

static int scratch_folder(struct container *self)
{
    int fd = open(self->scratch, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        fail(LAUNCH, "overlay", errno, NULL, "%s", self->scratch);
    return fd;
}

/* A small file system of the helper's own on the scratch folder, as the working directory. */
static int enter_names(struct container *self)
{
    autoclose scratch = scratch_folder(self);
    autoclose fs = fs_open("tmpfs");

    if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        fs_fail("overlay", fs, "a scratch file system");
    int names = sys_fsmount(fs, FSMOUNT_CLOEXEC, 0);
    attach("overlay", names, scratch, self->scratch);
    enter(names, "the scratch file system");
    return names;
}

/* Without an upper folder the kernel wants two layers; the second is then an empty folder `e`. */
static bool needs_empty(const struct op *op)
{
    return op->args.overlay.upper.u == NO_SLOT && op->args.overlay.lowers.l.count == 1;
}

static void make_empty(void)
{
    if (mkdir("e", 0755) != 0)
        fail(LAUNCH, "overlay", errno, NULL, "an empty layer");
}

static int create(int fs)
{
#ifdef FORCE_NO_LOWERDIR_PLUS /* a build for the tests of the fallback: as Linux 6.1 does */
    (void)fs;
    errno = EINVAL;
    return -1;
#else
    return sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
#endif
}

/* Each layer by a path of its own, relative to the working directory: no page to fit in, nothing to escape. Linux 6.1 takes the
 * option and fails when the file system is created; -1 then, as for any other reason that the other way may not have. */
static int by_paths(struct container *self, const struct op *op, int fs)
{
    const char *position = NULL, *lower;
    uint32_t index = 0, upper = op->args.overlay.upper.u;

    enter(slot_tree(self, op->args.overlay.layers.u), "the layers");
    while ((lower = list_next(&op->args.overlay.lowers, &position, &index)) != NULL)
        if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", lower, 0) != 0)
            return -1;
    if (needs_empty(op)) {
        autoclose names = enter_names(self);
        make_empty();
        if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", "e", 0) != 0)
            return -1;
    }
    if (upper != NO_SLOT) {
        enter(slot_tree(self, upper), "the upper folder");
        if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", "upper", 0) != 0 ||
            sys_fsconfig(fs, FSCONFIG_SET_STRING, "workdir", "work", 0) != 0)
            return -1;
        if (op->args.overlay.volatile_.u && sys_fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) != 0)
            return -1;
    }
    if (sys_fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) != 0)
        return -1;
    return create(fs);
}

/* Mounts the slot's tree on the new folder `name` of the working directory. What is mounted on it comes along in a guest, whose layers
 * are mounts of their own; not where the slot is idmapped: when the other way was tried first, the helper's own mounts are stacked there. */
static void place(struct container *self, uint32_t number, const char *name)
{
    if (mkdir(name, 0700) != 0)
        fail(LAUNCH, "overlay", errno, NULL, "%s", name);
    autoclose target = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    autoclose mount = slot_mount(self, number, !self->plan->slots[number].idmap);
    attach("overlay", mount, target, name);
}

/* One page of options for mount(2): the layers get names of a few characters, which are links in a scratch file system. */
static int by_short_names(struct container *self, const struct op *op)
{
    static char options[4096];
    const char *position = NULL, *lower;
    uint32_t index = 0, upper = op->args.overlay.upper.u;
    unsigned count = 0;
    autoclose names = enter_names(self);

    place(self, op->args.overlay.layers.u, "l");
    size_t size = (size_t)snprintf(options, sizeof options, "userxattr%s%s,lowerdir=",
                                   upper != NO_SLOT ? ",upperdir=u/upper,workdir=u/work" : "",
                                   upper != NO_SLOT && op->args.overlay.volatile_.u ? ",volatile" : "");
    while ((lower = list_next(&op->args.overlay.lowers, &position, &index)) != NULL) {
        char name[12], target[300];
        snprintf(name, sizeof name, "%u", count);
        if ((size_t)snprintf(target, sizeof target, lower[0] == '/' ? "%s" : "l/%s", lower) >= sizeof target || symlink(target, name) != 0)
            fail(LAUNCH, "overlay", errno, NULL, "%s", lower);
        size += (size_t)snprintf(options + size, sizeof options - size, count++ ? ":%s" : "%s", name);
        if (size >= sizeof options - 32)
            fail(LAUNCH, "overlay", E2BIG, "Linux 6.5 and later take up to 500", "%u layers", count);
    }
    if (needs_empty(op)) {
        make_empty();
        size += (size_t)snprintf(options + size, sizeof options - size, ":e");
    }
    if (upper != NO_SLOT)
        place(self, upper, "u");
    if (mkdir("root", 0700) != 0 || sys_mount("overlay", "root", "overlay", 0, options) != 0)
        return -1;
    self->root = open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return self->root;
}

static void set_root_flags(struct container *self, uint64_t flags)
{
    struct mount_attr attributes = {.attr_set = flags};

    if (flags && sys_mount_setattr(self->root, "", AT_EMPTY_PATH, &attributes) != 0)
        fail(LAUNCH, "overlay", errno, NULL, "the container's root");
}

void op_overlay(struct container *self, const struct op *op)
{
    if (op->args.overlay.lowers.l.count > MAX_LAYERS)
        fail(LAUNCH, "overlay", E2BIG, NULL, "%u layers, the kernel stacks %d", op->args.overlay.lowers.l.count, MAX_LAYERS);
    autoclose scratch = scratch_folder(self);
    autoclose fs = fs_open("overlay");

    if (by_paths(self, op, fs) == 0) {
        self->root = sys_fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)op->args.overlay.flags.q);
        attach("overlay", self->root, scratch, "the container's root");
        return;
    }
    if (errno != EINVAL || by_short_names(self, op) < 0)
        fs_fail("overlay", fs, "the container's layers");
    set_root_flags(self, op->args.overlay.flags.q);
}
