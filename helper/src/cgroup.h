#ifndef ESTIBA_CGROUP_H
#define ESTIBA_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "plan.h"

/* Before the clone: what the plan's cgroups say about devices. */
void limit_devices(const struct plan *plan);

/*
 * Before the clone: opens what the new process joins the plan's cgroups by. Returns the cgroup of version 2 that clone3(2) puts
 * it into, -1 where there is none.
 */
int open_cgroups(const struct plan *plan);

/* The calling process, which has one thread, joins the cgroups of version 1 that were opened. */
void join_cgroups(void);

/* Closes what open_cgroups opened. */
void close_cgroups(void);

/* Whether the kernel killed a process of these cgroups for want of memory (v2 memory.events, v1 memory.oom_control). */
bool cgroups_had_oom(const struct plan *plan);

/* Kills what is left in the cgroup `name` of `directory` and removes it; whether it is gone. */
bool remove_cgroup(int directory, const char *name);

/* Removes the cgroup `name` of `directory` when it is ours and nothing is in it: whoever needs it just now makes it again. */
void leave_cgroup(int directory, const char *name);

#endif
