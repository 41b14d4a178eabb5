/* User namespaces: their maps, and mounts that are seen through them. */
#ifndef ESTIBA_IDMAP_H
#define ESTIBA_IDMAP_H

#include <sys/types.h>

#include "channel.h"
#include "plan.h"

/* Writes the maps of the user namespace of `pid`, a child that waits. */
void write_id_maps(const struct op *user_namespace, pid_t pid);

/* An idmapped clone of every slot that asks for one, in the order of slots. `user_namespace` is a descriptor. */
void make_idmapped_clones(const struct plan *plan, int user_namespace, struct descriptors *clones);

#endif
