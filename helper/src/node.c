/* Folders, links and files in the container's root. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/stat.h>

#include "base.h"
#include "container.h"
#include "resolve.h"
#include "sys.h"

void op_directory(struct container *self, const struct op *op)
{
    const char *path = op->args.directory.path.s.data, *name;
    autoclose there = resolve(self->root, path, O_PATH | O_DIRECTORY);

    if (there >= 0)
        return;
    autoclose parent = errno == ENOENT ? resolve_parent(self->root, path, &name) : -1;
    if (parent < 0)
        fail(LAUNCH, "directory", errno, NULL, "%s", path);
    mode_t mask = umask(0);
    int made = mkdirat(parent, name, (mode_t)op->args.directory.mode.u);
    umask(mask);
    if (made != 0 && errno == EEXIST) /* a symbolic link that leads to nothing */
        there = resolve_directory(self->root, path, 0755);
    if (made != 0 && there < 0)
        fail(LAUNCH, "directory", errno, NULL, "%s", path);
}

void op_symlink(struct container *self, const struct op *op)
{
    const char *path = op->args.symlink.path.s.data, *name;
    autoclose parent = resolve_parent(self->root, path, &name);

    if (parent < 0 || (symlinkat(op->args.symlink.target.s.data, parent, name) != 0 && errno != EEXIST))
        fail(LAUNCH, "symlink", errno, NULL, "%s", path);
}

void op_file(struct container *self, const struct op *op)
{
    const char *path = op->args.file.path.s.data, *name;
    autoclose parent = resolve_parent(self->root, path, &name);

    /* A new file in the place of whatever is there: no link is followed and no fifo is opened. */
    if (parent < 0 || (unlinkat(parent, name, 0) != 0 && errno != ENOENT))
        fail(LAUNCH, "file", errno, NULL, "%s", path);
    autoclose fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write_all(fd, op->args.file.content.b.data, op->args.file.content.b.size) != 0 ||
        fchmod(fd, (mode_t)op->args.file.mode.u) != 0)
        fail(LAUNCH, "file", errno, NULL, "%s", path);
}

void op_working_directory(struct container *self, const struct op *op)
{
    const char *path = op->args.working_directory.path.s.data;
    char cwd[4096];
    autoclose fd = self->joined ? resolve(self->root, path, O_PATH | O_DIRECTORY) : resolve_directory(self->root, path, 0755);

    if (fd < 0 || fchdir(fd) != 0)
        fail(LAUNCH, "working_directory", errno, NULL, "%s", path);
    /* A folder that is not reachable from the root is shown with a prefix: it would be a way out (CVE-2024-21626). */
    if (syscall(SYS_getcwd, cwd, sizeof cwd) < 0 || cwd[0] != '/')
        fail(LAUNCH, "working_directory", 0, NULL, "%s is not in the container", path);
}
