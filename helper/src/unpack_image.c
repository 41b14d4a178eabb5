/*
 * estiba-init image: a layer's tree as an EROFS image, for guests. In the jail: so owners are those that a container sees, whatever the
 * ids on disk are, and nothing that the layer holds is followed.
 *
 * The image is written once from the beginning to the end, and inodes where they were placed: an inode's place is decided before its children are visited,
 * for they name it. What is left of a file behind its last whole block lies beside its inode.
 */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base.h"
#include "erofs.h"

enum { IMAGE = 3, BUFFER = 256 * 1024, MAX_XATTRS = 65536, DEEPEST = 500 };

/* Address space, not memory: the jail has no mmap(2), and what is not touched costs nothing. */
#define ARENA (1ul << 32)
#define LINKS (1u << 24)

struct name {
    const char *text;
    uint64_t inode;
    uint8_t type;
};

struct link {
    uint64_t number, place; /* st_ino, and the offset of the inode in the image */
};

static struct {
    uint64_t blocks;    /* that were given out */
    uint64_t meta, room; /* where the next inode may be, and how much of that block is left */
    uint64_t inodes;
    char *arena;
    size_t used;
    struct link *links;
    char *buffer, *xattrs, *names;
} image;

static char where[4096]; /* the path of what is at work, for failures */

static _Noreturn void refuse(int error)
{
    jail_fail(1, "image", error, where);
}

static void *take(size_t size)
{
    char *memory = image.arena + image.used;

    size = (size + 15) & ~(size_t)15;
    if (size > ARENA - image.used)
        refuse(ENOMEM);
    image.used += size;
    return memory;
}

static void put(const void *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(IMAGE, data, size, (off_t)offset);
        if (n < 0 && errno != EINTR)
            refuse(errno);
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
        refuse(EFBIG);
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
        refuse(E2BIG);
    ssize_t value = fgetxattr(fd, name, to + sizeof entry + length, room - sizeof entry - length - 3);
    if (value < 0)
        refuse(errno == ERANGE ? E2BIG : errno);
    entry.name_size = (uint8_t)length;
    entry.value_size = (uint16_t)value;
    memcpy(to, &entry, sizeof entry);
    memcpy(to + sizeof entry, rest, length);
    size_t size = sizeof entry + length + (size_t)value;
    memset(to + size, 0, -size & 3);
    return size + (-size & 3);
}

/* The attributes of a file or folder in image.xattrs, as they follow its inode; their size. */
static size_t read_xattrs(int fd)
{
    size_t used = sizeof(struct erofs_xattr_head);
    ssize_t size = flistxattr(fd, image.names, MAX_XATTRS);

    if (size < 0 && errno != ENOTSUP)
        refuse(errno);
    memset(image.xattrs, 0, used);
    for (const char *name = image.names; size > 0 && name < image.names + size; name += strlen(name) + 1)
        used += add_xattr(fd, name, image.xattrs + used, MAX_XATTRS - used);
    return used > sizeof(struct erofs_xattr_head) ? used : 0;
}

/* --- inodes --- */

static struct erofs_inode inode_of(const struct stat *status, size_t xattrs)
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

/* Decides where an inode and its data are; returns the inode's place. `tail` is how much of its data lies beside it. */
static uint64_t place_inode(struct erofs_inode *inode, size_t xattrs, size_t *tail)
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

static void put_inode(const struct erofs_inode *inode, size_t xattrs, uint64_t at)
{
    put(inode, sizeof *inode, at);
    if (xattrs > 0)
        put(image.xattrs, xattrs, at + sizeof *inode);
}

/* Data that is in memory: a link's target, a folder's entries. */
static void put_data(const struct erofs_inode *inode, const char *data, size_t tail, uint64_t tail_at)
{
    size_t whole = (size_t)inode->size - tail;

    if (whole > 0)
        put(data, whole, (uint64_t)inode->block * EROFS_BLOCK);
    put(data + whole, tail, tail_at);
}

static void copy_range(int fd, uint64_t from, uint64_t end, uint64_t to)
{
    while (from < end) {
        uint64_t left = end - from;
        ssize_t n = pread(fd, image.buffer, left < BUFFER ? (size_t)left : BUFFER, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            refuse(n < 0 ? errno : EIO);
        put(image.buffer, (size_t)n, to);
        from += (uint64_t)n;
        to += (uint64_t)n;
    }
}

/* Holes stay holes (lseek(2)). */
static void copy_data(int fd, uint64_t size, uint64_t to)
{
    off_t begin, end = 0;

    while ((uint64_t)end < size && (begin = lseek(fd, end, SEEK_DATA)) >= 0 && (uint64_t)begin < size) {
        end = lseek(fd, begin, SEEK_HOLE);
        if (end < 0)
            refuse(errno);
        copy_range(fd, (uint64_t)begin, (uint64_t)end < size ? (uint64_t)end : size, to + (uint64_t)begin);
    }
}

/* --- entries --- */

/* The place of a file with several names that was met before; otherwise 0, and its entry in `found` waits for the place. */
static uint64_t find_link(const struct stat *status, struct link **found)
{
    uint32_t at = (uint32_t)status->st_ino % LINKS;

    for (uint32_t i = 0; i < LINKS; i++, at = (at + 1) % LINKS) {
        if (image.links[at].number == status->st_ino)
            return image.links[at].place;
        if (image.links[at].number == 0) {
            *found = &image.links[at];
            (*found)->number = status->st_ino;
            return 0;
        }
    }
    refuse(ENOMEM);
}

static void add_name(uint64_t at)
{
    struct erofs_inode inode;

    if (pread(IMAGE, &inode, sizeof inode, (off_t)at) != (ssize_t)sizeof inode)
        refuse(EIO);
    inode.links++;
    put(&inode, sizeof inode, at);
}

static uint64_t add_file(int folder, const char *name, const struct stat *status)
{
    struct link *link = NULL;
    uint64_t known = status->st_nlink > 1 ? find_link(status, &link) : 0;
    size_t tail;

    if (known > 0) {
        add_name(known);
        return known;
    }
    autoclose fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        refuse(errno);
    size_t xattrs = read_xattrs(fd);
    struct erofs_inode inode = inode_of(status, xattrs);
    uint64_t at = place_inode(&inode, xattrs, &tail);
    put_inode(&inode, xattrs, at);
    copy_data(fd, inode.size - tail, (uint64_t)inode.block * EROFS_BLOCK);
    copy_range(fd, inode.size - tail, inode.size, at + sizeof inode + xattrs);
    if (link != NULL)
        link->place = at;
    return at;
}

static uint64_t add_other(int folder, const char *name, const struct stat *status)
{
    char target[4096];
    struct erofs_inode inode = inode_of(status, 0);
    size_t tail;

    inode.size = 0;
    if (S_ISLNK(status->st_mode)) {
        ssize_t size = readlinkat(folder, name, target, sizeof target);
        if (size < 0)
            refuse(errno);
        inode.size = (uint64_t)size;
    }
    uint64_t at = place_inode(&inode, 0, &tail);
    if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)) /* new_encode_dev() of the kernel */
        inode.block = (minor(status->st_rdev) & 0xff) | major(status->st_rdev) << 8 | (minor(status->st_rdev) & ~0xffu) << 12;
    put_inode(&inode, 0, at);
    put_data(&inode, target, tail, at + sizeof inode);
    return at;
}

static uint8_t type_of(mode_t mode)
{
    static const uint8_t types[16] = {[S_IFREG >> 12] = 1, [S_IFDIR >> 12] = 2, [S_IFCHR >> 12] = 3, [S_IFBLK >> 12] = 4,
                                      [S_IFIFO >> 12] = 5, [S_IFSOCK >> 12] = 6, [S_IFLNK >> 12] = 7};
    return types[mode >> 12 & 15];
}

static uint64_t add_folder(int fd, uint64_t parent, unsigned depth);

/* True when it is a folder: its `..` is one more name of this one. */
static bool add_entry(int folder, struct name *entry, uint64_t here, unsigned depth)
{
    struct stat status;
    size_t length = strlen(where), size = strlen(entry->text);

    if (length + size + 2 < sizeof where) { /* a longer path is named as far as it goes */
        where[length] = '/';
        memcpy(where + length + 1, entry->text, size + 1);
    }
    if (fstatat(folder, entry->text, &status, AT_SYMLINK_NOFOLLOW) != 0)
        refuse(errno);
    entry->type = type_of(status.st_mode);
    if (S_ISDIR(status.st_mode)) {
        autoclose fd = openat(folder, entry->text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            refuse(errno);
        entry->inode = add_folder(fd, here, depth + 1);
    } else if (S_ISREG(status.st_mode)) {
        entry->inode = add_file(folder, entry->text, &status);
    } else {
        entry->inode = add_other(folder, entry->text, &status);
    }
    where[length] = '\0';
    return S_ISDIR(status.st_mode);
}

/* --- folders --- */

struct folder {
    struct name *names; /* sorted as strcmp(3) does, `.` and `..` among them */
    size_t count;
    uint64_t size;      /* of its entries in blocks; the last one ends with its last name */
};

struct entry64 { /* getdents64(2) */
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

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

static void read_names(int fd, struct folder *folder)
{
    char batch[8192] __attribute__((aligned(8)));
    size_t first = image.used, bytes = 0;
    long got;

    while ((got = syscall(SYS_getdents64, fd, batch, sizeof batch)) > 0) {
        for (long at = 0; at < got;) {
            const struct entry64 *entry = (const void *)(batch + at);
            size_t size = strlen(entry->name) + 1;
            memcpy(take(size), entry->name, size);
            folder->count++;
            at += entry->length;
        }
    }
    if (got < 0)
        refuse(errno);
    folder->names = take(folder->count * sizeof *folder->names);
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
        struct erofs_entry out = {.inode_low = (uint32_t)number, .inode_high = (uint32_t)(number >> 32), .name = (uint16_t)name, .type = entry->type};
        size_t size = strlen(entry->text);
        memcpy(to + i * sizeof out, &out, sizeof out);
        memcpy(to + name, entry->text, size);
        name += size;
    }
}

static void put_names(const struct folder *folder, const struct erofs_inode *inode, size_t tail, uint64_t tail_at)
{
    size_t room = ((size_t)inode->size + EROFS_BLOCK - 1) / EROFS_BLOCK * EROFS_BLOCK, at = 0, bytes;
    char *data = take(room);

    memset(data, 0, room);
    for (size_t i = 0, count; i < folder->count; i += count, at += EROFS_BLOCK) {
        count = fill_block(folder, i, &bytes);
        write_block(folder, i, count, data + at);
    }
    put_data(inode, data, tail, tail_at);
}

/* Returns the place of its inode; `parent` is that of the folder above, 0 for the root. */
static uint64_t add_folder(int fd, uint64_t parent, unsigned depth)
{
    size_t before = image.used, tail;
    struct folder folder = {0};
    struct stat status;

    if (depth > DEEPEST)
        refuse(ENAMETOOLONG);
    if (fstat(fd, &status) != 0)
        refuse(errno);
    read_names(fd, &folder);
    size_t xattrs = read_xattrs(fd);
    struct erofs_inode inode = inode_of(&status, xattrs);
    inode.size = folder.size;
    uint64_t at = place_inode(&inode, xattrs, &tail);
    put(image.xattrs, xattrs, at + sizeof inode); /* the children's take their place in memory */
    inode.links = 2;
    for (size_t i = 0; i < folder.count; i++) {
        struct name *entry = &folder.names[i];
        bool self = strcmp(entry->text, ".") == 0;
        if (self || strcmp(entry->text, "..") == 0)
            *entry = (struct name){.text = entry->text, .inode = self || parent == 0 ? at : parent, .type = type_of(S_IFDIR)};
        else
            inode.links += add_entry(fd, entry, at, depth);
            }
    put(&inode, sizeof inode, at);
    put_names(&folder, &inode, tail, at + sizeof inode + xattrs);
    image.used = before;
    return at;
}

/* --- the whole --- */

static char *reserve(size_t size)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        refuse(errno);
    return memory;
}

static void put_super(uint64_t root)
{
    struct erofs_super super = {
        .magic = (uint32_t)EROFS_MAGIC,
        .block_bits = 12,
        .root = (uint16_t)(root / EROFS_SLOT),
        .inodes = image.inodes,
        .blocks = (uint32_t)image.blocks,
    };

    put(&super, sizeof super, EROFS_SUPER_OFFSET);
    if (ftruncate(IMAGE, (off_t)(image.blocks * EROFS_BLOCK)) != 0)
        refuse(errno);
}

static int body(void)
{
    int root = open("/fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (root < 0)
        refuse(errno);
    image.arena = reserve(ARENA);
    image.links = (struct link *)(void *)reserve(LINKS * sizeof(struct link));
    image.buffer = reserve(BUFFER);
    image.xattrs = reserve(MAX_XATTRS);
    image.names = reserve(MAX_XATTRS);
    image.blocks = 1;
    image.meta = EROFS_SUPER_OFFSET + sizeof(struct erofs_super);
    image.room = EROFS_BLOCK - image.meta;
    jail_lock(&root, 1, true, RLIM_INFINITY);
    put_super(add_folder(root, 0, 0));
    return 0;
}

int image_main(const struct plan *plan)
{
    if (plan->slots[1].fd < 0)
        jail_fail(1, "image", EBADF, "");
    return jail_run(plan, (struct jail_options){.read_only = true, .errors = 1}, body);
}
