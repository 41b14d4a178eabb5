/* The layer commands take their jail from the plan's host operations (PROTOCOL.md, "Layers"). */
#include "commands.h"
#include "failure.h"
#include "unpack.h"

static struct jail jail_of(const struct plan *plan)
{
    struct jail jail = {.root = plan->slots[0].fd, .held = plan->slots[1].fd};
    const struct op *user = plan_find(plan, OP_USER_NAMESPACE);

    if (jail.root < 0)
        fail(LAUNCH, "plan", 0, NULL, "slot 0 is not bound");
    if (user == NULL)
        fail(LAUNCH, "plan", 0, NULL, "it has no user namespace");
    jail.uid_map = list_vector(&user->args.user_namespace.uid_map, 0);
    jail.gid_map = list_vector(&user->args.user_namespace.gid_map, 0);
    jail.setgroups = user->args.user_namespace.setgroups.u != 0;
    jail.newuidmap = user->args.user_namespace.newuidmap.s.data;
    jail.newgidmap = user->args.user_namespace.newgidmap.s.data;
    return jail;
}

int unpack_command(struct plan *plan)
{
    struct jail jail = jail_of(plan);
    return unpack_main(&jail);
}

int read_command(struct plan *plan)
{
    struct jail jail = jail_of(plan);
    return read_main(&jail);
}

int remove_command(struct plan *plan)
{
    struct jail jail = jail_of(plan);
    return remove_main(&jail);
}
