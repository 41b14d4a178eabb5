/*
 * The image is written once from the beginning to the end, and inodes where they were placed. What is left of a file behind its last
 * whole block lies beside its inode.
 */
#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base.h"

void image_put(const void *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(IMAGE, data, size, (off_t)offset);
        if (n < 0 && errno != EINTR)
            image_refuse(errno);
        if (n > 0) {
            data = (const char *)data + n;
            size -= (size_t)n;
            offset += (uint64_t)n;
        }
    }
}

/* --- places --- */

static uint64_t take_blocks(uint64_t count)
{
    uint64_t first = image.blocks;

    image.blocks += count;
    if (image.blocks > UINT32_MAX)
        image_refuse(EFBIG);
    return first;
}

/* An inode, its attributes and what is left of its data are in one block; only what is larger than a block begins at one and goes on. */
static uint64_t place(size_t size)
{
    if (size > image.room) {
        uint64_t count = (size + EROFS_BLOCK - 1) / EROFS_BLOCK;
        image.meta = take_blocks(count) * EROFS_BLOCK;
        image.room = count * EROFS_BLOCK;
    }
    uint64_t at = image.meta;
    size = (size + EROFS_SLOT - 1) & ~(size_t)(EROFS_SLOT - 1);
    image.meta += size;
    image.room -= size;
    image.inodes++;
    return at;
}

/* --- attributes --- */

static const struct {
    const char *prefix;
    uint8_t number;
} prefixes[] = {{"user.", 1}, {"system.posix_acl_access", 2}, {"system.posix_acl_default", 3}, {"trusted.", 4}, {"security.", 6}};

static size_t add_xattr(int fd, const char *name, char *to, size_t room)
{
    struct erofs_xattr entry = {0};
    const char *rest = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(prefixes) && rest == NULL; i++) {
        size_t size = strlen(prefixes[i].prefix);
        if (strncmp(name, prefixes[i].prefix, size) == 0) {
            rest = name + size;
            entry.prefix = prefixes[i].number;
        }
    }
    if (rest == NULL)
        return 0;
    size_t length = strlen(rest);
    if (room < sizeof entry + length + 4)
        image_refuse(E2BIG);
    ssize_t value = fgetxattr(fd, name, to + sizeof entry + length, room - sizeof entry - length - 3);
    if (value < 0)
        image_refuse(errno == ERANGE ? E2BIG : errno);
    entry.name_size = (uint8_t)length;
    entry.value_size = (uint16_t)value;
    memcpy(to, &entry, sizeof entry);
    memcpy(to + sizeof entry, rest, length);
    size_t size = sizeof entry + length + (size_t)value;
    memset(to + size, 0, -size & 3);
    return size + (-size & 3);
}

size_t read_xattrs(int fd)
{
    size_t used = sizeof(struct erofs_xattr_head);
    ssize_t size = flistxattr(fd, image.names, MAX_XATTRS);

    if (size < 0 && errno != ENOTSUP)
        image_refuse(errno);
    memset(image.xattrs, 0, used);
    for (const char *name = image.names; size > 0 && name < image.names + size; name += strlen(name) + 1)
        used += add_xattr(fd, name, image.xattrs + used, MAX_XATTRS - used);
    return used > sizeof(struct erofs_xattr_head) ? used : 0;
}

/* --- inodes --- */

struct erofs_inode inode_of(const struct stat *status, size_t xattrs)
{
    return (struct erofs_inode){
        .format = EROFS_EXTENDED | EROFS_PLAIN,
        .xattr_count = (uint16_t)(xattrs ? 1 + (xattrs - sizeof(struct erofs_xattr_head)) / 4 : 0),
        .mode = (uint16_t)status->st_mode,
        .size = (uint64_t)status->st_size,
        .number = (uint32_t)image.inodes,
        .uid = status->st_uid,
        .gid = status->st_gid,
        .mtime = (uint64_t)status->st_mtim.tv_sec,
        .nanoseconds = (uint32_t)status->st_mtim.tv_nsec,
        .links = 1,
    };
}

uint64_t place_inode(struct erofs_inode *inode, size_t xattrs, size_t *tail)
{
    size_t head = sizeof *inode + xattrs;
    uint64_t blocks = inode->size / EROFS_BLOCK;

    *tail = inode->size % EROFS_BLOCK;
    if (head + *tail > EROFS_BLOCK) {
        *tail = 0;
        blocks++;
    }
    if (*tail > 0)
        inode->format = EROFS_EXTENDED | EROFS_INLINE;
    uint64_t at = place(head + *tail);
    inode->block = blocks > 0 ? (uint32_t)take_blocks(blocks) : UINT32_MAX;
    return at;
}

void put_inode(const struct erofs_inode *inode, size_t xattrs, uint64_t at)
{
    image_put(inode, sizeof *inode, at);
    if (xattrs > 0)
        image_put(image.xattrs, xattrs, at + sizeof *inode);
}

void put_data(const struct erofs_inode *inode, const char *data, size_t tail, uint64_t tail_at)
{
    size_t whole = (size_t)inode->size - tail;

    if (whole > 0)
        image_put(data, whole, (uint64_t)inode->block * EROFS_BLOCK);
    image_put(data + whole, tail, tail_at);
}

static void copy_range(int fd, uint64_t from, uint64_t end, uint64_t to)
{
    while (from < end) {
        uint64_t left = end - from;
        ssize_t n = pread(fd, image.buffer, left < COPY_BUFFER ? (size_t)left : COPY_BUFFER, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            image_refuse(n < 0 ? errno : EIO);
        image_put(image.buffer, (size_t)n, to);
        from += (uint64_t)n;
        to += (uint64_t)n;
    }
}

/* lseek(2), SEEK_DATA: what is not read is a hole in the image too. */
void copy_data(int fd, const struct erofs_inode *inode, size_t tail, uint64_t tail_at)
{
    uint64_t whole = inode->size - tail, to = (uint64_t)inode->block * EROFS_BLOCK;
    off_t begin, end = 0;

    while ((uint64_t)end < whole && (begin = lseek(fd, end, SEEK_DATA)) >= 0 && (uint64_t)begin < whole) {
        end = lseek(fd, begin, SEEK_HOLE);
        if (end < 0)
            image_refuse(errno);
        copy_range(fd, (uint64_t)begin, (uint64_t)end < whole ? (uint64_t)end : whole, to + (uint64_t)begin);
    }
    copy_range(fd, whole, inode->size, tail_at);
}

void put_super(uint64_t root)
{
    struct erofs_super super = {
        .magic = (uint32_t)EROFS_MAGIC,
        .block_bits = 12,
        .root = (uint16_t)(root / EROFS_SLOT),
        .inodes = image.inodes,
        .blocks = (uint32_t)image.blocks,
    };

    image_put(&super, sizeof super, EROFS_SUPER_OFFSET);
    if (ftruncate(IMAGE, (off_t)(image.blocks * EROFS_BLOCK)) != 0)
        image_refuse(errno);
}
