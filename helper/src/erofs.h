/* The file system EROFS as far as images of layers need it (fs/erofs/erofs_fs.h of Linux): nothing compressed, no shared attributes. */
#ifndef ESTIBA_EROFS_H
#define ESTIBA_EROFS_H

#include <stdint.h>

enum {
    EROFS_MAGIC = 0xE0F5E1E2 - 0x100000000, /* as an int */
    EROFS_BLOCK = 4096,
    EROFS_SLOT = 32,          /* an inode's number is its offset in these */
    EROFS_SUPER_OFFSET = 1024,
    EROFS_EXTENDED = 1,       /* i_format, bit 0: struct erofs_inode */
    EROFS_PLAIN = 0 << 1,     /* its data is in whole blocks */
    EROFS_INLINE = 2 << 1,    /* what is left behind the last whole block follows the inode and its attributes */
};

struct erofs_super {
    uint32_t magic, checksum, feature_compat;
    uint8_t block_bits, extension_slots;
    uint16_t root;
    uint64_t inodes, build_time;
    uint32_t build_nanoseconds, blocks, meta_block, xattr_block;
    uint8_t uuid[16], name[16];
    uint32_t feature_incompat;
    uint16_t compression, devices, device_slot;
    uint8_t directory_bits, prefix_count;
    uint32_t prefix_start;
    uint64_t packed;
    uint8_t reserved[24];
};

struct erofs_inode {
    uint16_t format, xattr_count, mode, reserved;
    uint64_t size;
    uint32_t block, number, uid, gid; /* `block` is the first one of its data, or a device number */
    uint64_t mtime;
    uint32_t nanoseconds, links;
    uint8_t reserved2[16];
};

struct erofs_entry {
    uint32_t inode_low, inode_high; /* the number is not aligned behind a multiple of 12 */
    uint16_t name;                  /* offset in the block */
    uint8_t type, reserved;
};

struct erofs_xattr_head {
    uint32_t filter;
    uint8_t shared, reserved[7];
};

struct erofs_xattr {
    uint8_t name_size, prefix;
    uint16_t value_size;
};

_Static_assert(sizeof(struct erofs_super) == 128 && sizeof(struct erofs_inode) == 64 && sizeof(struct erofs_entry) == 12 &&
               sizeof(struct erofs_xattr_head) == 12 && sizeof(struct erofs_xattr) == 4, "as on disk");

#endif
