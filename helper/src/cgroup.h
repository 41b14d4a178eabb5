#ifndef ESTIBA_CGROUP_H
#define ESTIBA_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "plan.h"

/* Moves the process into every cgroup that the plan names. */
void join_cgroups(const struct plan *plan, pid_t pid);

/* Whether the kernel killed a process of these cgroups for want of memory (v2 memory.events, v1 memory.oom_control). */
bool cgroups_had_oom(const struct plan *plan);

/* Kills what is left in the cgroup `name` of `directory` and removes it. */
void remove_cgroup(int directory, const char *name);

#endif
