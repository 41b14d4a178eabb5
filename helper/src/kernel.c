/* Names, network and settings of the container's namespaces, and limits of its process. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include "base.h"
#include "container.h"
#include "sys.h"

void op_hostname(struct container *self, const struct op *op)
{
    (void)self;
    if (sethostname(op->args.hostname.name.s.data, op->args.hostname.name.s.size) != 0)
        fail(LAUNCH, "hostname", errno, NULL, "%s", op->args.hostname.name.s.data);
}

void op_domainname(struct container *self, const struct op *op)
{
    (void)self;
    if (setdomainname(op->args.domainname.name.s.data, op->args.domainname.name.s.size) != 0)
        fail(LAUNCH, "domainname", errno, NULL, "%s", op->args.domainname.name.s.data);
}

void op_loopback(struct container *self, const struct op *op)
{
    struct ifreq request = {.ifr_name = "lo"};
    autoclose fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)self, (void)op;
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) != 0)
        fail(LAUNCH, "loopback", errno, NULL, "lo");
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        fail(LAUNCH, "loopback", errno, NULL, "lo");
}

/* A file of the procfs that the helper mounted itself, with nothing mounted over it (hardening W3). */
static int open_proc(struct container *self, const char *path)
{
    int proc = self->proc >= 0 ? self->proc : self->host_proc;
    struct open_how how = {.flags = O_WRONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS};
    struct statfs fs;
    int fd = sys_openat2(proc, path, &how);

    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(proc, path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && (fstatfs(fd, &fs) != 0 || fs.f_type != PROC_SUPER_MAGIC)) {
        close(fd);
        errno = EXDEV;
        return -1;
    }
    return fd;
}

void op_sysctl(struct container *self, const struct op *op)
{
    const union value *value = &op->args.sysctl.value;
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof path, "sys/%s", op->args.sysctl.path.s.data) >= sizeof path)
        fail(LAUNCH, "sysctl", ENAMETOOLONG, NULL, "%s", op->args.sysctl.path.s.data);
    if (strstr(path, "..") != NULL) /* what is beneath /proc is not all beneath /proc/sys */
        fail(LAUNCH, "sysctl", EINVAL, NULL, "%s", op->args.sysctl.path.s.data);
    autoclose fd = open_proc(self, path);
    if (fd < 0 || write(fd, value->s.data, value->s.size) != (ssize_t)value->s.size)
        fail(LAUNCH, "sysctl", errno, NULL, "%s to %s", op->args.sysctl.path.s.data, value->s.data);
}

void op_oom_score_adj(struct container *self, const struct op *op)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%lld", (long long)op->args.oom_score_adj.value.q);

    /* The files of a process that is not dumpable are the host's root's (proc(5)). Nobody else is in the container yet. */
    prctl(PR_SET_DUMPABLE, 1);
    autoclose fd = open_proc(self, "self/oom_score_adj");
    int error = errno;
    if (prctl(PR_SET_DUMPABLE, 0) != 0)
        fail(LAUNCH, "oom_score_adj", errno, NULL, "%s", text);
    errno = error;
    if (fd < 0 || write(fd, text, (size_t)size) != size)
        fail(LAUNCH, "oom_score_adj", errno, errno == EACCES ? "only root of the host may lower it" : NULL, "%s", text);
}

void op_rlimit(struct container *self, const struct op *op)
{
    struct rlimit limit = {.rlim_cur = op->args.rlimit.soft.q, .rlim_max = op->args.rlimit.hard.q};

    (void)self;
    if (setrlimit((int)op->args.rlimit.resource.u, &limit) != 0)
        fail(LAUNCH, "rlimit", errno, NULL, "resource %u to %llu:%llu", op->args.rlimit.resource.u,
             (unsigned long long)op->args.rlimit.soft.q, (unsigned long long)op->args.rlimit.hard.q);
}
