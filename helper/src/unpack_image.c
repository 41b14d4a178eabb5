/*
 * estiba-init image: a layer's tree as an EROFS image, for guests. In the jail: so owners are those that a container sees, whatever the
 * ids on disk are, and nothing that the layer holds is followed.
 */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base.h"
#include "image.h"

enum { DEEPEST = 500 };

struct image image;
static char where[4096]; /* the path of what is at work, for failures */

void image_refuse(int error)
{
    jail_fail(1, "image", error, where);
}

void *image_take(size_t size)
{
    char *memory = image.arena + image.used;

    size = (size + 15) & ~(size_t)15;
    if (size > IMAGE_ARENA - image.used)
        image_refuse(ENOMEM);
    image.used += size;
    return memory;
}

/* --- entries --- */

/* The place of a file with several names that was met before; otherwise 0, and its entry in `found` waits for the place. */
static uint64_t find_link(const struct stat *status, struct link **found)
{
    uint32_t at = (uint32_t)status->st_ino % IMAGE_LINKS;

    for (uint32_t i = 0; i < IMAGE_LINKS; i++, at = (at + 1) % IMAGE_LINKS) {
        if (image.links[at].number == status->st_ino)
            return image.links[at].place;
        if (image.links[at].number == 0) {
            *found = &image.links[at];
            (*found)->number = status->st_ino;
            return 0;
        }
    }
    image_refuse(ENOMEM);
}

static void add_name(uint64_t at)
{
    struct erofs_inode inode;

    if (pread(IMAGE, &inode, sizeof inode, (off_t)at) != (ssize_t)sizeof inode)
        image_refuse(EIO);
    inode.links++;
    image_put(&inode, sizeof inode, at);
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
        image_refuse(errno);
    size_t xattrs = read_xattrs(fd);
    struct erofs_inode inode = inode_of(status, xattrs);
    uint64_t at = place_inode(&inode, xattrs, &tail);
    put_inode(&inode, xattrs, at);
    copy_data(fd, &inode, tail, at + sizeof inode + xattrs);
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
            image_refuse(errno);
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
        image_refuse(errno);
    entry->type = type_of(status.st_mode);
    if (S_ISDIR(status.st_mode)) {
        autoclose fd = openat(folder, entry->text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            image_refuse(errno);
        entry->inode = add_folder(fd, here, depth + 1);
    } else if (S_ISREG(status.st_mode)) {
        entry->inode = add_file(folder, entry->text, &status);
    } else {
        entry->inode = add_other(folder, entry->text, &status);
    }
    where[length] = '\0';
    return S_ISDIR(status.st_mode);
}

/* Returns the place of its inode; `parent` is that of the folder above, 0 for the root. */
static uint64_t add_folder(int fd, uint64_t parent, unsigned depth)
{
    size_t before = image.used, tail;
    struct folder folder = {0};
    struct stat status;

    if (depth > DEEPEST)
        image_refuse(ENAMETOOLONG);
    if (fstat(fd, &status) != 0)
        image_refuse(errno);
    read_names(fd, &folder);
    size_t xattrs = read_xattrs(fd);
    struct erofs_inode inode = inode_of(&status, xattrs);
    inode.size = folder.size;
    uint64_t at = place_inode(&inode, xattrs, &tail);
    image_put(image.xattrs, xattrs, at + sizeof inode); /* the children's take their place in memory */
    inode.links = 2;
    for (size_t i = 0; i < folder.count; i++) {
        struct name *entry = &folder.names[i];
        bool self = strcmp(entry->text, ".") == 0;
        if (self || strcmp(entry->text, "..") == 0)
            *entry = (struct name){.text = entry->text, .inode = self || parent == 0 ? at : parent, .type = type_of(S_IFDIR)};
        else
            inode.links += add_entry(fd, entry, at, depth);
            }
    image_put(&inode, sizeof inode, at);
    put_names(&folder, &inode, tail, at + sizeof inode + xattrs);
    image.used = before;
    return at;
}

/* --- the whole --- */

static char *reserve(size_t size)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        image_refuse(errno);
    return memory;
}

static int body(void)
{
    int root = open("/fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (root < 0)
        image_refuse(errno);
    image.arena = reserve(IMAGE_ARENA);
    image.links = (struct link *)(void *)reserve(IMAGE_LINKS * sizeof(struct link));
    image.buffer = reserve(COPY_BUFFER);
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
