/* A cpio archive of the format `newc`, not compressed (Documentation/driver-api/early-userspace/buffer-format.rst). */
#define _GNU_SOURCE
#include "initramfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"

static void put(int fd, const void *data, size_t size)
{
    static const char zeros[4];

    if (write_all(fd, data, size) != 0 || write_all(fd, zeros, -size & 3) != 0)
        fail(LAUNCH, "machine", errno, NULL, "the guest's initramfs");
}

static void put_member(int fd, const char *path, mode_t mode, const void *data, size_t size)
{
    char head[160];
    const char *name = path[0] == '/' ? path + 1 : path;

    /* magic, inode, mode, uid, gid, links, mtime, size, devices (4), length of the name with its NUL, checksum */
    int used = snprintf(head, sizeof head, "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X%s", 0, mode, 0, 0, 1, 0, size, 0, 0,
                        0, 0, strlen(name) + 1, 0, name);
    put(fd, head, (size_t)used + 1);
    put(fd, data, size);
}

static void put_file(int fd, const char *name, mode_t mode, const char *path)
{
    struct stat status;
    autoclose program = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a kernel's image may hold a FIFO */

    if (program < 0 || fstat(program, &status) != 0)
        fail(LAUNCH, "machine", errno, NULL, "%s, for the guest's initramfs", path);
    void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, program, 0);
    if (data == MAP_FAILED)
        fail(LAUNCH, "machine", errno, NULL, "%s, for the guest's initramfs", path);
    put_member(fd, name, S_IFREG | mode, data, (size_t)status.st_size);
    munmap(data, (size_t)status.st_size);
}

static void put_modules(int fd, const union value *modules)
{
    const char *position = NULL, *path;
    uint32_t index = 0;
    char name[32];

    put_member(fd, GUEST_MODULES, S_IFDIR | 0700, NULL, 0);
    while ((path = list_next(modules, &position, &index)) != NULL) {
        snprintf(name, sizeof name, GUEST_MODULES "/%u", index - 1);
        put_file(fd, name, 0600, path);
    }
}

void make_initramfs(const struct op *op)
{
    const char *path = op->args.machine.initramfs.s.data;
    char entropy[ENTROPY];
    autoclose fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        fail(LAUNCH, "machine", errno, NULL, "%s", path);
    if (getrandom(entropy, sizeof entropy, 0) != (ssize_t)sizeof entropy)
        fail(LAUNCH, "machine", errno, NULL, "random numbers for the guest");
    put_file(fd, GUEST_INIT, 0700, op->args.machine.init.s.data);
    put_modules(fd, &op->args.machine.modules);
    if (op->args.machine.park.u == NO_SLOT)
        put_member(fd, GUEST_PLAN, S_IFREG | 0600, op->args.machine.plan.b.data, op->args.machine.plan.b.size);
    put_member(fd, GUEST_ENTROPY, S_IFREG | 0600, entropy, sizeof entropy);
    put_member(fd, "TRAILER!!!", 0, NULL, 0);
}
