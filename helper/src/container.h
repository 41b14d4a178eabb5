/* The container's first process while it makes the container: one function per operation, called in the plan's order. */
#ifndef ESTIBA_CONTAINER_H
#define ESTIBA_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "run.h"

enum { MAX_HELD = 8 };

struct container {
    struct run *run;
    const struct plan *plan;
    int keeper;         /* connection */
    int root;           /* the container's root folder, -1 before `overlay` or `root` */
    int proc, devpts;   /* mounts that the helper made (or bound) itself, -1 before */
    int host_proc;      /* the helper's own /proc, for what is written before there is another */
    int null;           /* /dev/null of the helper's mount namespace */
    int trees[MAX_SLOTS]; /* slots as trees of this mount namespace, -1 where not opened */
    bool attached[MAX_SLOTS]; /* an idmapped clone is attached: a second use must clone it */
    const char *scratch; /* a folder of the helper's mount namespace that helper mounts may hide */
    int mask;           /* the empty read-only folder that hides folders */
    int streams[3];     /* what becomes 0, 1 and 2 */
    bool terminal;      /* they are a pseudo-terminal: it becomes the controlling one */
    bool init;
    uint32_t uid, gid;
    bool wants_home;
    const char *home;
    bool placed;        /* the streams are 0, 1 and 2 already */
    bool shares;        /* the host's mounts are no slaves: what is mounted in them, the host sees */
    bool borrows;       /* the mount namespace is the caller's: nothing outside the root is changed */
    uint32_t pid;       /* as the creator sees it */
    bool groups_denied; /* setgroups(2) is denied in the user namespace */
    bool joined;        /* the container runs already, and its processes may have changed what they can reach */
    int held[MAX_HELD]; /* of `held_file`, in their order */
    uint32_t held_count;
    int accounts;       /* the root whose passwd and group count, -1: the same */
};

/* join.c: takes the caller into a container that runs. Returns in a new process of its namespaces, whose parent is the keeper. */
void join_container(struct container *self, const struct op *op);
/* The joined user namespace's root, as far as it has one. */
void become_joined_root(struct container *self);
/* The program gets a mount namespace of its own, for `overlay` to make another root there. */
void part_from_container(struct container *self);
/* A pseudo-terminal's file system at /dev/pts, or -1. */
int joined_devpts(const struct container *self);

/* container.c: the mounts become slaves: what the host mounts below a bind with propagation arrives, nothing goes back
 * (mount_namespaces(7)). Opens what later operations need of the host. */
void part_from_host(struct container *self);
/* mount.c */
void op_root(struct container *self, const struct op *op);
void op_mount(struct container *self, const struct op *op);
void op_bind(struct container *self, const struct op *op);
void op_host_bind(struct container *self, const struct op *op);
void op_mask(struct container *self, const struct op *op);
void op_readonly(struct container *self, const struct op *op);
void op_pivot(struct container *self, const struct op *op);
/* volume.c */
void op_readonly_root(struct container *self, const struct op *op);
void op_volume(struct container *self, const struct op *op);
/* overlay.c */
void op_overlay(struct container *self, const struct op *op);
/* node.c */
void op_directory(struct container *self, const struct op *op);
void op_symlink(struct container *self, const struct op *op);
void op_file(struct container *self, const struct op *op);
void op_working_directory(struct container *self, const struct op *op);
/* streams.c */
void make_streams(struct container *self);
void op_console(struct container *self, const struct op *op);
/* kernel.c */
void op_hostname(struct container *self, const struct op *op);
void op_domainname(struct container *self, const struct op *op);
void op_loopback(struct container *self, const struct op *op);
void op_sysctl(struct container *self, const struct op *op);
void op_oom_score_adj(struct container *self, const struct op *op);
void op_rlimit(struct container *self, const struct op *op);
/* binfmt.c */
void op_binfmt(struct container *self, const struct op *op);
/* user.c */
void op_user(struct container *self, const struct op *op);
/* privilege.c */
void op_bounding(struct container *self, const struct op *op);
void op_capabilities(struct container *self, const struct op *op);
void op_no_new_privileges(struct container *self, const struct op *op);
void op_seccomp(struct container *self, const struct op *op);
/* bundle.c */
void op_file_system(struct container *self, const struct op *op);
void op_tree(struct container *self, const struct op *op);
void op_attributes(struct container *self, const struct op *op);
void op_device(struct container *self, const struct op *op);
void op_propagation(struct container *self, const struct op *op);
void op_move_root(struct container *self, const struct op *op);
void op_change_root(struct container *self, const struct op *op);
/* hold.c */
void op_ask(struct container *self, const struct op *op);
void op_hold(struct container *self, const struct op *op);
void op_hook(struct container *self, const struct op *op);
/* rest.c */
void op_held_file(struct container *self, const struct op *op);
void op_content(struct container *self, const struct op *op);
void op_warm(struct container *self, const struct op *op);
/* Says that it is there, and waits for the second part of the plan, which takes the first one's place. */
void take_rest(struct container *self);
/* container.c: who is told of a failure from now on. */
void tell_failures_to(int connection);
/* execute.c */
_Noreturn void op_execute(struct container *self, const struct op *op);
/* Fails, while somebody hears it, when there is no such program. */
void check_program(struct container *self);
/* The interpreter that an ELF program or a script names, or NULL; `machine` is set for ELF. */
const char *interpreter_of(const char *path, uint16_t *machine);
/* The streams become 0, 1 and 2; a terminal becomes the controlling one. */
void place_streams(struct container *self);
/* machine.c: PID 1 with a machine monitor as its child, which runs the program in a guest. */
_Noreturn void op_machine(struct container *self, const struct op *op);
/* machine_execute.c: stands for a program in the guest of a machine whose jail was joined. */
_Noreturn void op_machine_execute(struct container *self, const struct op *op);
/* init.c: PID 1 with the program as its child; returns in the child. */
void start_under_init(struct container *self);

/* container_mounts.c: a private clone of a mount, or of all beneath it (AT_RECURSIVE), which is detached. */
int clone_of(int tree, const char *path, unsigned recursive);
/* The mounts of `container_mount`, cloned where the container is, and attached in another root. */
void clone_container_mounts(const struct plan *plan, int root);
void attach_container_mounts(const struct plan *plan, int root);

/* slots.c: the slot's tree in this mount namespace, ready to be attached or to be read. */
int slot_tree(struct container *self, uint32_t number);
/* A detached mount of the slot's tree, to be attached by the caller. */
int slot_mount(struct container *self, uint32_t number, bool recursive);
void open_slots(struct container *self);

#endif
