/* What a container that runs has mounted, to be seen in another mount namespace (`container_mount`). */
#define _GNU_SOURCE
#include <sys/stat.h>

#include "base.h"
#include "container.h"
#include "mounting.h"
#include "resolve.h"
#include "sys.h"

static int mounts[MAX_SLOTS]; /* in the order of the plan */
static size_t mount_count;

int clone_of(int tree, const char *path, unsigned recursive)
{
    struct mount_attr private = {.propagation = MS_PRIVATE};
    int clone = sys_open_tree(tree, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive);

    /* A clone of a shared mount would carry what is mounted on it back (mount_namespaces(7)). */
    if (clone < 0 || sys_mount_setattr(clone, "", AT_EMPTY_PATH | recursive, &private) != 0)
        fail(LAUNCH, "join", errno, NULL, "%s", path);
    return clone;
}

void clone_container_mounts(const struct plan *plan, int root)
{
    for (const struct op *op = plan_find(plan, OP_CONTAINER_MOUNT); op; op = plan_next(plan, op, OP_CONTAINER_MOUNT)) {
        const char *path = op->args.container_mount.target.s.data;
        autoclose target = resolve(root, path, O_PATH);
        if (target < 0 || mount_count == MAX_SLOTS)
            fail(LAUNCH, "join", target < 0 ? errno : E2BIG, NULL, "%s", path);
        mounts[mount_count++] = clone_of(target, path, AT_RECURSIVE);
    }
}

void attach_container_mounts(const struct plan *plan, int root)
{
    size_t next = 0;

    for (const struct op *op = plan_find(plan, OP_CONTAINER_MOUNT); op; op = plan_next(plan, op, OP_CONTAINER_MOUNT)) {
        const char *path = op->args.container_mount.target.s.data;
        autoclose target = resolve(root, path, O_PATH);
        if (target < 0)
            fail(LAUNCH, "join", errno, NULL, "%s", path);
        attach("join", mounts[next], target, path);
        close(mounts[next++]);
    }
}
