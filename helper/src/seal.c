/*
 * A program in a container can reach the file of the process that entered it through /proc/<pid>/exe and overwrite the host's
 * program (CVE-2019-5736). So the helper first becomes an anonymous file with all seals (memfd_create(2), F_ADD_SEALS): the
 * copy of a small static program costs about 11 us. Where the machine forbids executable memfds (vm.memfd_noexec=2)
 * it runs from a detached read-only mount of its own file instead, which needs privilege.
 */
#define _GNU_SOURCE
#include "seal.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base.h"
#include "failure.h"
#include "sys.h"

#ifndef MFD_EXEC /* Linux 6.3 */
#define MFD_EXEC 0x0010U
#endif

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static bool is_sealed(int program)
{
    struct statvfs fs;
    int seals = fcntl(program, F_GET_SEALS);

    if (seals >= 0)
        return (seals & ALL_SEALS) == ALL_SEALS;
    return fstatvfs(program, &fs) == 0 && (fs.f_flag & ST_RDONLY);
}

static int memfd_copy(int program)
{
    struct stat status;
    autoclose copy = memfd_create("estiba-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

    if (copy < 0 && errno == EINVAL)
        copy = memfd_create("estiba-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (copy < 0)
        return -1;
    if (fstat(program, &status) != 0)
        return -1;
    for (off_t done = 0; done < status.st_size;)
        if (sendfile(copy, program, &done, (size_t)(status.st_size - done)) <= 0)
            return -1;
    if (fchmod(copy, 0500) != 0 || fcntl(copy, F_ADD_SEALS, ALL_SEALS) != 0)
        return -1;
    return keep_fd(&copy);
}

static int read_only_mount(int program)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    autoclose mount = sys_open_tree(program, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

    if (mount < 0 || sys_mount_setattr(mount, "", AT_EMPTY_PATH, &attributes) != 0)
        return -1;
    return keep_fd(&mount);
}

void run_sealed(char *const arguments[])
{
    char *environment[] = {NULL};
    autoclose program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    if (program < 0)
        fail(LAUNCH, "seal", errno, NULL, "/proc/self/exe");
    if (is_sealed(program))
        return;
    autoclose copy = memfd_copy(program);
    if (copy >= 0)
        sys_execveat(copy, "", arguments, environment, AT_EMPTY_PATH);
    autoclose mount = read_only_mount(program);
    if (mount >= 0)
        sys_execveat(mount, "", arguments, environment, AT_EMPTY_PATH);
    fail(LAUNCH, "seal", errno, "vm.memfd_noexec=2 forbids it to an ordinary user; see \"estiba doctor\"",
         "a copy of estiba-init cannot be executed");
}
