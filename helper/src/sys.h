/* System calls without a wrapper in musl 1.2.3 or glibc 2.36 (or with clashing headers). Numbers are the kernel's. */
#ifndef ESTIBA_SYS_H
#define ESTIBA_SYS_H

#include <fcntl.h>
#include <linux/mount.h> /* instead of sys/mount.h: glibc 2.36 has the same structures in both */
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000 /* linux/fcntl.h, which clashes with fcntl.h */
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2 /* sys/mount.h */
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

static inline int sys_openat2(int directory, const char *path, struct open_how *how)
{
#ifdef FORCE_ENOSYS_OPENAT2 /* a build for the tests of the fallback */
    (void)directory, (void)path, (void)how;
    errno = ENOSYS;
    return -1;
#else
    return (int)syscall(SYS_openat2, directory, path, how, sizeof *how);
#endif
}

static inline int sys_open_tree(int directory, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, directory, path, flags);
}

static inline int sys_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
    return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}

static inline int sys_mount_setattr(int directory, const char *path, unsigned flags, struct mount_attr *attributes)
{
    return (int)syscall(SYS_mount_setattr, directory, path, flags, attributes, sizeof *attributes);
}

static inline int sys_fsopen(const char *type, unsigned flags)
{
    return (int)syscall(SYS_fsopen, type, flags);
}

static inline int sys_fsconfig(int fs, unsigned command, const char *key, const void *value, int extra)
{
    return (int)syscall(SYS_fsconfig, fs, command, key, value, extra);
}

static inline int sys_fsmount(int fs, unsigned flags, unsigned attributes)
{
    return (int)syscall(SYS_fsmount, fs, flags, attributes);
}

static inline int sys_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
    return (int)syscall(SYS_mount, source, target, type, flags, data);
}

static inline int sys_umount2(const char *target, int flags)
{
    return (int)syscall(SYS_umount2, target, flags);
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static inline pid_t sys_clone3(struct clone_args *arguments)
{
    return (pid_t)syscall(SYS_clone3, arguments, sizeof *arguments);
}

static inline int sys_execveat(int directory, const char *path, char *const arguments[], char *const environment[], int flags)
{
    return (int)syscall(SYS_execveat, directory, path, arguments, environment, flags);
}

static inline int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
    return (int)syscall(SYS_close_range, first, last, flags);
}

static inline int sys_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static inline int sys_pidfd_send_signal(int pidfd, int number)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

#endif
