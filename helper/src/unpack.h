/* What the layer commands (unpack, read, image, remove) share. See PROTOCOL.md, "Layers". */
#ifndef ESTIBA_UNPACK_H
#define ESTIBA_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan.h"

/* --- the commands; each takes its plan of host operations and returns the exit status --- */

int unpack_main(const struct plan *plan); /* unpack.c: records of a layer from standard input */
int read_main(const struct plan *plan);   /* unpack_read.c: answers about a layer's files */
int image_main(const struct plan *plan);  /* unpack_image.c: a layer's tree as the image of a disk */
int remove_main(const struct plan *plan); /* remove.c: empties the trash */
/* remove.c: the tree `name` of a trash folder, by the calling process itself. */
void remove_tree(int folder, const char *name);

/* --- the jail (unpack_jail.c) --- */

struct jail_options {
    const char *const *keep; /* folders of the root that stay visible, NULL for all */
    bool read_only;
    int errors; /* the descriptor of failure records */
};

/*
 * Runs `body` in a child whose root is slot 0's folder, in the user namespace of the plan, with descriptors 0, 1, 2 and
 * slot 1 (as 3) only. Returns its exit status.
 */
int jail_run(const struct plan *plan, struct jail_options options, int (*body)(void));

/* The second half, when the body has opened what it needs: no new file system access but beneath `allowed` (Landlock, where the
 * kernel has it), no system call but those of file work, no memory, no program. Exits the process when it cannot be done. */
void jail_lock(const int *allowed, size_t count, bool read_only, uint64_t file_size);

/* Leaves the capabilities that unpacking as root of a user namespace needs, and no more. */
void jail_drop(void);

/* The jail's system-call filter (unpack_filter.c). */
void jail_filter(void);

/* Writes `failed <record> <errno> <path>` to `out` and ends the process with status 1. */
_Noreturn void jail_fail(int out, const char *record, int error, const char *path);

/* --- paths beneath a folder (unpack_path.c) --- */

struct parent {
    int root;       /* O_PATH or better */
    int fd;           /* the folder `path`, or -1; never `root` */
    bool mounts;      /* paths may lead through mounts */
    size_t length;
    char path[4096];
};

/* Opens the folder that holds the last component of `path`, beneath root and through no symbolic link. Consecutive calls with
 * the same folder share one descriptor. Sets *name to the last component. Returns -1 with errno. */
int parent_open(struct parent *parent, const char *path, const char **name);
/* Forgets the folder: it may have been removed or replaced. */
void parent_forget(struct parent *parent);
/* Opens `path` beneath `root`, through no symbolic link, by openat2(2) or by a walk where that is missing. */
int open_beneath(int root, const char *path, int flags);
/* Moves an entry to a name that must be free: EEXIST otherwise. */
int rename_new(int from_folder, const char *from, int to_folder, const char *to);

/* --- records (unpack_record.c) --- */

/* Allocates the buffer; before jail_lock. Failures are written to `errors_to`. */
void record_open(int errors_to);
/* The next operation on standard input, valid until the next call; false at the end of input. A malformed one ends the process. */
bool record_next(struct op *op);
/* Whether a whole operation is already in the buffer. */
bool record_waiting(void);

/* --- answers on standard output (answer.c) --- */

/* Each ends the process when nobody listens any more. */
void answer_flush(void);
void answer(const void *bytes, size_t length);
void answer_number(uint32_t number);
/* `length` bytes of a file from `offset` on; how many there were. errno says why it were fewer, 0 when the file is shorter. */
uint64_t answer_file(int fd, uint64_t offset, uint64_t length);

#endif
