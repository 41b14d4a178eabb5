/* estiba-init remove: empties the trash folder. Never follows a symbolic link; as root of the layers' user namespace, so that trees with
 * subordinate ids or mode 000 go too. Two at a time do no harm: what is gone is gone. */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"

/* A container can make trees deeper than there are descriptors: what lies deeper than this is moved up to the trash and comes next. */
enum { DEEPEST = 100 };

static int trash = -1;
static unsigned moved;
static int failure; /* the first error that stayed */

static void note(void)
{
    if (errno != ENOENT && !failure)
        failure = errno;
}

static void remove_entries(int folder, unsigned depth);

static void remove_directory(int parent, const char *name, unsigned depth)
{
    char moved_name[32];
    if (depth >= DEEPEST) {
        do
            snprintf(moved_name, sizeof(moved_name), "deep-%u", moved++);
        while (rename_new(parent, name, trash, moved_name) < 0 && errno == EEXIST);
        return;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        note();
        return;
    }
    remove_entries(fd, depth + 1);
    close(fd);
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
        note();
}

/* Reads from the start again until a pass finds nothing new: a directory that loses entries may skip some. */
static void remove_entries(int folder, unsigned depth)
{
    char batch[8192] __attribute__((aligned(8)));
    bool progress = true;
    while (progress && !failure) {
        progress = false;
        lseek(folder, 0, SEEK_SET);
        for (long got; (got = syscall(SYS_getdents64, folder, batch, sizeof(batch))) > 0;) {
            for (long at = 0; at < got;) {
                const struct entry64 *entry = (const void *)(batch + at);
                at += entry->length;
                if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
                    continue;
                progress = true;
                if (entry->type != 4 /* DT_DIR */ && unlinkat(folder, entry->name, 0) == 0)
                    continue;
                if (entry->type == 4 || errno == EISDIR || errno == EPERM)
                    remove_directory(folder, entry->name, depth);
                else
                    note();
            }
        }
    }
}

void remove_tree(int folder, const char *name)
{
    char deep[32];

    trash = folder;
    remove_directory(folder, name, 0);
    for (unsigned i = 0; i < moved; i++) {
        snprintf(deep, sizeof deep, "deep-%u", i);
        remove_directory(folder, deep, 0);
    }
}

static int body(void)
{
    trash = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (trash < 0)
        jail_fail(1, "open", errno, "");
    jail_lock(&trash, 1, false, 0);
    remove_entries(trash, 0);
    if (failure)
        jail_fail(1, "remove", failure, "");
    return 0;
}

int remove_main(const struct plan *plan)
{
    return jail_run(plan, (struct jail_options){.errors = 1}, body);
}
