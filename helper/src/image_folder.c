/* Folders of an image: their entries sorted, in blocks that the kernel searches by halving (fs/erofs/namei.c). */
#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"

static void sift(struct name *names, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && strcmp(names[child].text, names[child + 1].text) < 0)
            child++;
        if (strcmp(names[at].text, names[child].text) >= 0)
            return;
        struct name other = names[at];
        names[at] = names[child];
        names[child] = other;
    }
}

/* In place: the C library's qsort(3) may want memory, and there is none in the jail. */
static void sort(struct name *names, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift(names, i, count);
    for (size_t left = count; left-- > 1;) {
        struct name last = names[left];
        names[left] = names[0];
        names[0] = last;
        sift(names, 0, left);
    }
}

/* How many entries from `first` on go into one block, and how many bytes they take. */
static size_t fill_block(const struct folder *folder, size_t first, size_t *bytes)
{
    size_t next = first, size = 0;

    for (; next < folder->count; next++) {
        size_t more = sizeof(struct erofs_entry) + strlen(folder->names[next].text);
        if (size + more > EROFS_BLOCK)
            break;
        size += more;
    }
    *bytes = size;
    return next - first;
}

void read_names(int fd, struct folder *folder)
{
    char batch[8192] __attribute__((aligned(8)));
    size_t first = image.used, bytes = 0;
    long got;

    while ((got = syscall(SYS_getdents64, fd, batch, sizeof batch)) > 0) {
        for (long at = 0; at < got;) {
            const struct entry64 *entry = (const void *)(batch + at);
            size_t size = strlen(entry->name) + 1;
            memcpy(image_take(size), entry->name, size);
            folder->count++;
            at += entry->length;
        }
    }
    if (got < 0)
        image_refuse(errno);
    folder->names = image_take(folder->count * sizeof *folder->names);
    const char *text = image.arena + first;
    for (size_t i = 0; i < folder->count; i++) {
        folder->names[i] = (struct name){.text = text};
        text += (strlen(text) + 1 + 15) & ~(size_t)15;
    }
    sort(folder->names, folder->count);
    for (size_t i = 0, count; i < folder->count; i += count) {
        count = fill_block(folder, i, &bytes);
        folder->size += i + count < folder->count ? EROFS_BLOCK : bytes;
    }
}

static void write_block(const struct folder *folder, size_t first, size_t count, char *to)
{
    size_t name = count * sizeof(struct erofs_entry);

    for (size_t i = 0; i < count; i++) {
        const struct name *entry = &folder->names[first + i];
        uint64_t number = entry->inode / EROFS_SLOT;
        struct erofs_entry out = {
            .inode_low = (uint32_t)number, .inode_high = (uint32_t)(number >> 32), .name = (uint16_t)name, .type = entry->type,
        };
        size_t size = strlen(entry->text);
        memcpy(to + i * sizeof out, &out, sizeof out);
        memcpy(to + name, entry->text, size);
        name += size;
    }
}

void put_names(const struct folder *folder, const struct erofs_inode *inode, size_t tail, uint64_t tail_at)
{
    size_t room = ((size_t)inode->size + EROFS_BLOCK - 1) / EROFS_BLOCK * EROFS_BLOCK, at = 0, bytes;
    char *data = image_take(room);

    memset(data, 0, room);
    for (size_t i = 0, count; i < folder->count; i += count, at += EROFS_BLOCK) {
        count = fill_block(folder, i, &bytes);
        write_block(folder, i, count, data + at);
    }
    put_data(inode, data, tail, tail_at);
}
