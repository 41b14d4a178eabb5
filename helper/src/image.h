/* What the files of `estiba-init image` share: unpack_image.c walks the tree, image_inode.c writes what it finds, image_folder.c its folders. */
#ifndef ESTIBA_IMAGE_H
#define ESTIBA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "erofs.h"

enum { IMAGE = 3, COPY_BUFFER = 256 * 1024, MAX_XATTRS = 65536 };

struct link {
    uint64_t number, place; /* st_ino, and the offset of the inode in the image */
};

/* Address space, not memory: the jail has no mmap(2), and what is not touched costs nothing. */
#define IMAGE_ARENA (1ul << 32)
#define IMAGE_LINKS (1u << 24)

extern struct image {
    uint64_t blocks;    /* that were given out */
    uint64_t meta, room; /* where the next inode may be, and how much of that block is left */
    uint64_t inodes;
    char *arena;        /* for names and entries of the folders that are open */
    size_t used;
    struct link *links;
    char *buffer, *xattrs, *names;
} image;

/* unpack_image.c: ends with a failure that names the path at work. */
_Noreturn void image_refuse(int error);
/* unpack_image.c: memory of the arena, which is given back by setting `used`. */
void *image_take(size_t size);

/* image_inode.c */
void image_put(const void *data, size_t size, uint64_t offset);
/* The attributes of a file or folder into image.xattrs, as they follow its inode; their size. */
size_t read_xattrs(int fd);
struct erofs_inode inode_of(const struct stat *status, size_t xattrs);
/* Decides where an inode and its data are; returns the inode's place. `tail` is how much of its data lies beside it. */
uint64_t place_inode(struct erofs_inode *inode, size_t xattrs, size_t *tail);
void put_inode(const struct erofs_inode *inode, size_t xattrs, uint64_t at);
/* Data that is in memory: a link's target, a folder's entries. */
void put_data(const struct erofs_inode *inode, const char *data, size_t tail, uint64_t tail_at);
/* Data of a file; holes stay holes. */
void copy_data(int fd, const struct erofs_inode *inode, size_t tail, uint64_t tail_at);
void put_super(uint64_t root);

/* image_folder.c */
struct name {
    const char *text;
    uint64_t inode;
    uint8_t type;
};

struct folder {
    struct name *names; /* sorted as strcmp(3) does, `.` and `..` among them */
    size_t count;
    uint64_t size;      /* of its entries in blocks; the last one ends with its last name */
};

void read_names(int fd, struct folder *folder);
void put_names(const struct folder *folder, const struct erofs_inode *inode, size_t tail, uint64_t tail_at);

#endif
