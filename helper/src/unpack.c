/* estiba-init unpack: carries out the records of one layer in the jail. The archive itself was read in Python; what arrives here is flat.
 * Meaning of each record: ops.toml. */
#define _GNU_SOURCE
#include "unpack.h"

#include "base.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct parent parent;        /* of the entry at hand */
static struct parent target_parent; /* of a hard link's target */
static int layer = -1;                   /* the folder that holds fs/ and kept/ */
static int files = -1;                   /* the store's files/ */
static int shelves[256];               /* its folders by the key's first two characters, 0 when not open yet */
static int kept = -1;
static int open_file = -1;
static uint64_t bytes_left, inodes_left;
static const char *record_name = "input";
static const char *path_at_work = "";

static void must(int result)
{
    if (result < 0)
        jail_fail(1, record_name, errno, path_at_work);
}

static _Noreturn void refuse(int error)
{
    jail_fail(1, record_name, error, path_at_work);
}

struct attributes {
    uint32_t mode, uid, gid;
    struct timespec times[2];
};

/* `args` is one of the operations that carry an owner and a time. */
#define OWNER_AND_TIME(args)                                                                                           \
    .uid = (args)->uid.u, .gid = (args)->gid.u, .times = {                                                         \
        { (time_t)(args)->mtime.q, (long)(args)->nanoseconds.u },                                              \
        { (time_t)(args)->mtime.q, (long)(args)->nanoseconds.u },                                              \
    }
#define ATTRIBUTES(args) { .mode = (args)->mode.u & 07777, OWNER_AND_TIME(args) }

static const char *at_work(const union value *path)
{
    return path_at_work = path->s.data;
}

static int parent_of(const char *path, const char **name)
{
    int fd = parent_open(&parent, path, name);
    must(fd);
    return fd;
}

static void count_inode(void)
{
    if (inodes_left == 0)
        refuse(EDQUOT);
    inodes_left--;
}

static void count_bytes(uint64_t bytes)
{
    if (bytes > bytes_left)
        refuse(EDQUOT);
    bytes_left -= bytes;
}

/* --- files --- */

static void write_content(int fd, const union value *content, off_t offset)
{
    must(write_all_at(fd, content->b.data, content->b.size, offset));
}

/* A new inode belongs to 0:0 (no folder here is set-gid before the end), and open(2) gave it the plain permission bits already. A change
 * of owner clears set-uid, so the mode comes after it. */
static void finish_file(int fd, const struct attributes *attributes, bool mode_set)
{
    if (attributes->uid || attributes->gid)
        must(fchown(fd, attributes->uid, attributes->gid));
    if (!mode_set || attributes->mode & 07000)
        must(fchmod(fd, attributes->mode));
    must(futimens(fd, attributes->times));
    must(close(fd));
}

static int create(const char *path, mode_t mode)
{
    const char *name;
    int folder = parent_of(path, &name);
    count_inode();
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    must(fd);
    return fd;
}

static void unpack_file(const union arguments *arguments)
{
    const __typeof__(arguments->unpack_file) *args = &arguments->unpack_file;
    struct attributes attributes = ATTRIBUTES(args);
    const char *path = at_work(&args->path);
    count_bytes(args->content.b.size);
    int fd = create(path, attributes.mode & 0777);
    write_content(fd, &args->content, 0);
    finish_file(fd, &attributes, true);
}

static void unpack_open(const union arguments *arguments)
{
    static char path[4096]; /* outlives the record: later errors name it */
    const char *sent = at_work(&arguments->unpack_open.path);
    if ((size_t)snprintf(path, sizeof(path), "%s", sent) >= sizeof(path))
        refuse(ENAMETOOLONG);
    path_at_work = path;
    open_file = create(path, 0600);
}

static void unpack_data(const union arguments *arguments)
{
    count_bytes(arguments->unpack_data.content.b.size);
    write_content(open_file, &arguments->unpack_data.content, (off_t)arguments->unpack_data.offset.q);
}

static void unpack_close(const union arguments *arguments)
{
    const __typeof__(arguments->unpack_close) *args = &arguments->unpack_close;
    struct attributes attributes = ATTRIBUTES(args);
    must(ftruncate(open_file, (off_t)args->size.q));
    finish_file(open_file, &attributes, false);
    open_file = -1;
}

/* --- links to files that the store has, and their entry into it --- */

static int shelf(const char *key, bool make)
{
    if (strlen(key) != 64 || strspn(key, "0123456789abcdef") != 64)
        refuse(EINVAL);
    char name[3] = { key[0], key[1], '\0' };
    unsigned long index = strtoul(name, NULL, 16);
    if (shelves[index] == 0) {
        if (make && mkdirat(files, name, 0755) < 0 && errno != EEXIST)
            must(-1);
        shelves[index] = open_beneath(files, name, O_PATH | O_DIRECTORY);
        must(shelves[index]);
    }
    return shelves[index];
}

static void unpack_known(const union arguments *arguments)
{
    const char *name, *key = arguments->unpack_known.key.s.data;
    int folder = parent_of(at_work(&arguments->unpack_known.path), &name);
    must(linkat(shelf(key, false), key, folder, name, 0));
}

static void unpack_share(const union arguments *arguments)
{
    const char *name, *key = arguments->unpack_share.key.s.data;
    int folder = parent_of(at_work(&arguments->unpack_share.path), &name);
    if (linkat(folder, name, shelf(key, true), key, 0) < 0 && errno != EEXIST && errno != EMLINK)
        must(-1);
}

/* --- other entries --- */

static void unpack_directory(const union arguments *arguments)
{
    const char *name;
    int folder = parent_of(at_work(&arguments->unpack_directory.path), &name);
    count_inode();
    must(mkdirat(folder, name, 0700));
}

static void unpack_link(const union arguments *arguments)
{
    const char *name, *target_name;
    int folder = parent_of(at_work(&arguments->unpack_link.path), &name);
    int target_folder = parent_open(&target_parent, arguments->unpack_link.target.s.data, &target_name);
    must(target_folder);
    must(linkat(target_folder, target_name, folder, name, 0)); /* without AT_SYMLINK_FOLLOW: the link itself */
}

static void unpack_symlink(const union arguments *arguments)
{
    const __typeof__(arguments->unpack_symlink) *args = &arguments->unpack_symlink;
    struct attributes attributes = { OWNER_AND_TIME(args) };
    const char *name;
    int folder = parent_of(at_work(&args->path), &name);
    count_inode();
    must(symlinkat(args->target.s.data, folder, name));
    if (attributes.uid || attributes.gid)
        must(fchownat(folder, name, attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW));
    must(utimensat(folder, name, attributes.times, AT_SYMLINK_NOFOLLOW));
}

static void unpack_fifo(const union arguments *arguments)
{
    const __typeof__(arguments->unpack_fifo) *args = &arguments->unpack_fifo;
    struct attributes attributes = ATTRIBUTES(args);
    const char *name;
    int folder = parent_of(at_work(&args->path), &name);
    count_inode();
    must(mknodat(folder, name, S_IFIFO | 0600, 0));
    must(fchownat(folder, name, attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW));
    must(fchmodat(folder, name, attributes.mode, 0)); /* made a moment ago, and nobody else works here */
    must(utimensat(folder, name, attributes.times, AT_SYMLINK_NOFOLLOW));
}

static void unpack_whiteout(const union arguments *arguments)
{
    const char *name;
    int folder = parent_of(at_work(&arguments->unpack_whiteout.path), &name);
    count_inode();
    must(mknodat(folder, name, S_IFCHR, makedev(0, 0)));
}

static void unpack_xattr(const union arguments *arguments)
{
    const __typeof__(arguments->unpack_xattr) *args = &arguments->unpack_xattr;
    const char *name, *path = at_work(&args->path);
    if (*path == '\0') {
        must(fsetxattr(parent.root, args->name.s.data, args->value.b.data, args->value.b.size, 0));
        return;
    }
    /* There is no setxattrat(2) before Linux 6.13, and no /proc here: the working directory stands in. */
    must(fchdir(parent_of(path, &name)));
    must(lsetxattr(name, args->name.s.data, args->value.b.data, args->value.b.size, 0));
}

static void unpack_attributes(const union arguments *arguments)
{
    const __typeof__(arguments->unpack_attributes) *args = &arguments->unpack_attributes;
    struct attributes attributes = ATTRIBUTES(args);
    const char *name, *path = at_work(&args->path);
    int fd = parent.root;
    if (*path) {
        int folder = parent_of(path, &name);
        fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        must(fd);
    }
    if (attributes.uid || attributes.gid) /* as of files: a new one belongs to 0:0 */
        must(fchown(fd, attributes.uid, attributes.gid));
    must(fchmod(fd, attributes.mode));
    must(futimens(fd, attributes.times));
    if (*path)
        must(close(fd));
}

/* --- what a later entry replaces --- */

static void unpack_erase(const union arguments *arguments)
{
    const char *name;
    int folder = parent_of(at_work(&arguments->unpack_erase.path), &name);
    must(unlinkat(folder, name, arguments->unpack_erase.directory.u ? AT_REMOVEDIR : 0));
    parent_forget(&parent);
    parent_forget(&target_parent);
}

static void unpack_keep(const union arguments *arguments)
{
    const char *name;
    char number[12];
    snprintf(number, sizeof(number), "%u", arguments->unpack_keep.number.u);
    int folder = parent_of(at_work(&arguments->unpack_keep.path), &name);
    if (kept < 0) {
        must(mkdirat(layer, "kept", 0700));
        kept = open_beneath(layer, "kept", O_PATH | O_DIRECTORY);
        must(kept);
    }
    must(rename_new(folder, name, kept, number));
}

static void unpack_sync(const union arguments *arguments)
{
    static const char answer[] = "synced\n";
    (void)arguments;
    must(syncfs(layer));
    must(write_all(1, answer, sizeof(answer) - 1));
}

static const struct {
    const char *name;
    void (*carry_out)(const union arguments *);
} records[] = {
    [OP_UNPACK_DIRECTORY - OP_UNPACK_LAYER] = { "make-directory", unpack_directory },
    [OP_UNPACK_FILE - OP_UNPACK_LAYER] = { "write-file", unpack_file },
    [OP_UNPACK_OPEN - OP_UNPACK_LAYER] = { "write-file", unpack_open },
    [OP_UNPACK_DATA - OP_UNPACK_LAYER] = { "write-file", unpack_data },
    [OP_UNPACK_CLOSE - OP_UNPACK_LAYER] = { "write-file", unpack_close },
    [OP_UNPACK_KNOWN - OP_UNPACK_LAYER] = { "link-known", unpack_known },
    [OP_UNPACK_LINK - OP_UNPACK_LAYER] = { "link", unpack_link },
    [OP_UNPACK_SYMLINK - OP_UNPACK_LAYER] = { "make-symlink", unpack_symlink },
    [OP_UNPACK_FIFO - OP_UNPACK_LAYER] = { "make-fifo", unpack_fifo },
    [OP_UNPACK_WHITEOUT - OP_UNPACK_LAYER] = { "make-whiteout", unpack_whiteout },
    [OP_UNPACK_XATTR - OP_UNPACK_LAYER] = { "set-attribute", unpack_xattr },
    [OP_UNPACK_ATTRIBUTES - OP_UNPACK_LAYER] = { "set-owner-and-mode", unpack_attributes },
    [OP_UNPACK_ERASE - OP_UNPACK_LAYER] = { "erase", unpack_erase },
    [OP_UNPACK_KEEP - OP_UNPACK_LAYER] = { "keep", unpack_keep },
    [OP_UNPACK_SYNC - OP_UNPACK_LAYER] = { "sync", unpack_sync },
    [OP_UNPACK_SHARE - OP_UNPACK_LAYER] = { "share", unpack_share },
};

static void begin_layer(const union arguments *arguments)
{
    const char *folder = at_work(&arguments->unpack_layer.folder);
    bytes_left = arguments->unpack_layer.bytes.q;
    inodes_left = arguments->unpack_layer.inodes.q;
    if (strchr(folder, '/'))
        refuse(EINVAL);
    autoclose ingest = open_beneath(AT_FDCWD, "ingest", O_PATH | O_DIRECTORY);
    must(ingest);
    layer = open_beneath(ingest, folder, O_RDONLY | O_DIRECTORY);
    must(layer);
    files = open_beneath(AT_FDCWD, "files", O_PATH | O_DIRECTORY);
    must(files);
    int root = open_beneath(layer, "fs", O_RDONLY | O_DIRECTORY);
    must(root);
    /* A set-gid folder above would hand its group down to everything. */
    must(fchown(root, 0, 0));
    must(fchmod(root, 0700));
    parent.root = target_parent.root = root;
}

static int body(void)
{
    struct op op;
    parent.fd = target_parent.fd = -1; /* here, so that the program's file does not hold 8 kB of zeros */
    record_open(1);
    if (!record_next(&op) || !op_is(&op, OP_UNPACK_LAYER))
        refuse(EPROTO);
    begin_layer(&op.args);
    const int allowed[] = { layer, files };
    jail_lock(allowed, 2, false, bytes_left);
    while (record_next(&op)) {
        unsigned index = op.schema->code - (unsigned)OP_UNPACK_LAYER;
        bool known = index > 0 && index < ARRAY_SIZE(records);
        bool data = op_is(&op, OP_UNPACK_DATA) || op_is(&op, OP_UNPACK_CLOSE);
        record_name = known ? records[index].name : "input";
        if (open_file < 0)
            path_at_work = ""; /* the last record's is gone */
        if (!known || data != (open_file >= 0))
            refuse(EPROTO);
        records[index].carry_out(&op.args);
    }
    if (open_file >= 0)
        refuse(EPROTO);
    return 0;
}

int unpack_main(const struct plan *plan)
{
    static const char *const keep[] = {"ingest", "files", NULL};

    return jail_run(plan, (struct jail_options){.keep = keep, .errors = 1}, body);
}
