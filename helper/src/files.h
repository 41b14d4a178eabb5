/* A container's files (PROTOCOL.md, "Files of a container"): what files*.c share. */
#ifndef ESTIBA_FILES_H
#define ESTIBA_FILES_H

#include "plan.h"
#include "unpack.h"

int files_main(const struct plan *plan);       /* files.c: questions */
int files_write_main(const struct plan *plan); /* files.c: questions and changes */
int guard_main(const struct plan *plan);       /* guard.c */

/* Fails unless the plan makes sense for these commands (plan_check.c). */
void plan_check_files(const struct plan *plan);
void plan_check_guard(const struct plan *plan);

/* files_enter.c: carries the plan out; in the end the calling process sees the container's root and nothing else. Returns tree 1, or
 * -1. `told` is called when a new user namespace waits for its maps. */
int files_enter(const struct plan *plan, bool read_only, void (*told)(void));

/* Where paths are looked up: `root` is the tree's own, `base` holds the folder that paths are below. */
struct tree {
    int root;
    struct parent base;
};

enum { TREES = 2 };

/* files_ask.c, files_make.c: carry out one record; false when it is none of theirs. */
bool files_ask(struct tree trees[TREES], const struct op *op);
bool files_make(struct tree *tree, const struct op *op);
/* Nothing is open any more. */
bool files_are_complete(void);

#endif
