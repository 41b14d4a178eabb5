/* Slots as this mount namespace sees them. */
#define _GNU_SOURCE
#include <sys/stat.h>
#include <string.h>

#include "base.h"
#include "container.h"
#include "sys.h"

/*
 * A mount of another mount namespace can be read but not cloned, so the slot is opened again by its path, and must be the very
 * object that the sender opened: the path may lead elsewhere by now, or here.
 */
static int open_again(const struct slot *slot, uint32_t number)
{
    struct stat there, here;
    autoclose fd = open(slot->path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        fail(LAUNCH, "slot", errno, NULL, "%s", slot->path);
    if (fstat(slot->fd, &there) != 0 || fstat(fd, &here) != 0)
        fail(LAUNCH, "slot", errno, NULL, "%s", slot->path);
    if (there.st_dev != here.st_dev || there.st_ino != here.st_ino)
        fail(LAUNCH, "slot", ESTALE, NULL, "%u: %s is another file by now", number, slot->path);
    return keep_fd(&fd);
}

static void open_slot(struct container *self, uint32_t number)
{
    const struct slot *slot = &self->plan->slots[number];

    if (number != NO_SLOT && self->trees[number] < 0 && !slot->idmap)
        self->trees[number] = open_again(slot, number);
}

void open_slots(struct container *self)
{
    for (uint32_t i = 0; i < self->plan->count; i++) {
        const struct op *op = &self->plan->ops[i];
        if (op_is(op, OP_OVERLAY)) {
            open_slot(self, op->args.overlay.layers.u);
            open_slot(self, op->args.overlay.upper.u);
        } else if (op_is(op, OP_ROOT) || op_is(op, OP_BIND) || op_is(op, OP_VOLUME) || op_is(op, OP_UPPER_TREE) || op_is(op, OP_BINFMT) ||
                   op_is(op, OP_TREE)) {
            open_slot(self, op->args.all[0].u);
        }
    }
}

int slot_tree(struct container *self, uint32_t number)
{
    const struct slot *slot = &self->plan->slots[number];

    /* A clone must be attached before its folders can serve as layers: until then it is in no mount namespace. */
    if ((slot->idmap || self->joined) && !self->attached[number]) {
        if (sys_move_mount(self->trees[number], "", AT_FDCWD, self->scratch, MOVE_MOUNT_F_EMPTY_PATH) != 0)
            fail(LAUNCH, "idmap", errno, NULL, "%s on %s", slot->path, self->scratch);
        self->attached[number] = true;
    }
    return self->trees[number];
}

int slot_mount(struct container *self, uint32_t number, bool recursive)
{
    const struct slot *slot = &self->plan->slots[number];

    if ((slot->idmap || self->joined) && !self->attached[number]) {
        self->attached[number] = true;
        return fcntl(self->trees[number], F_DUPFD_CLOEXEC, 3);
    }
    return sys_open_tree(self->trees[number], "",
                         OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0));
}
