"""estiba's own system-call profile: the readable source from which `seccomp_default` is made.

What is in none of these groups and is not in `FORBIDDEN` either is unknown to us and answers ENOSYS, so that programs fall back to
what they used before. What is forbidden answers EPERM, as it does for a process without the capability. The groups of `WITH`
come back with the capability that guards them (inside a user namespace the kernel then checks it again).
"""

from __future__ import annotations

from estiba.runtime.seccomp_bpf import ALLOW, Action, Check, Condition, errno

EPERM, ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT = 1, 38, 97, 93
_INT = 0xFFFFFFFF  # the kernel reads an int: the upper half of the register must not decide anything

# --- allowed --------------------------------------------------------------------------------------------------------------

FILES = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
    epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2
    fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate
    futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown
    lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat
    name_to_handle_at newfstatat open openat openat2 pipe pipe2 poll ppoll pread64 preadv preadv2 pselect6 pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir select sendfile setxattr
    setxattrat splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat
    utime utimensat utimes write writev
"""

MEMORY = """
    brk cachestat madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap mseal msync
    munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""

PROCESSES = """
    alarm arch_prctl capget capset exit exit_group fork futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list
    get_thread_area getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit
    getrusage getsid gettid getuid ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
    pause pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list
    set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid
    setrlimit setsid setuid signalfd signalfd4 sigaltstack sysinfo tgkill time times tkill uname vfork wait4 waitid
"""

TIME = """
    clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer timer_create timer_delete
    timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
"""

IPC = """
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop
    semtimedop shmat shmctl shmdt shmget
"""

NETWORK = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
    setsockopt shutdown
"""

MISCELLANEOUS = """
    getrandom io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
"""

# 32-bit x86 has older doubles of the calls above; they matter only for linux/386 images.
I386 = """
    _llseek _newselect chown32 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 fadvise64_64 fchown32 fcntl64 fstat64
    fstatat64 fstatfs64 ftruncate64 futex_time64 getegid32 geteuid32 getgid32 getgroups32 getresgid32 getresuid32 getuid32
    io_pgetevents_time64 ipc lchown32 lstat64 mmap2 mq_timedreceive_time64 mq_timedsend_time64 nice oldfstat oldlstat oldstat
    ppoll_time64 pselect6_time64 readdir recvmmsg_time64 rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64
    sendfile64 setfsgid32 setfsuid32 setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32 setuid32 sgetmask
    sigaction signal sigpending sigprocmask sigreturn sigsuspend ssetmask stat64 statfs64 timer_gettime64 timer_settime64
    timerfd_gettime64 timerfd_settime64 truncate64 ugetrlimit utimensat_time64 waitpid
"""

ALLOWED = (FILES, MEMORY, PROCESSES, TIME, IPC, NETWORK, MISCELLANEOUS, I386)

# --- forbidden: EPERM, and the capability that gives it back where there is one ---------------------------------------------

FORBIDDEN = {
    # Keys live in the user's keyring, which is not divided by user namespaces alone.
    "keyring": "add_key keyctl request_key",
    # Make exploits of races in the kernel reliable; few programs need them.
    "fault handling": "userfaultfd",
    # Large, young code that bypasses this very filter: its requests are not system calls.
    "io_uring": "io_uring_enter io_uring_register io_uring_setup",
    # Splices user pages into pipes by reference; a family of page-cache bugs.
    "page gifts": "vmsplice",
    # Not of a container's business, or obsolete.
    "host": """
        _sysctl adjtimex afs_syscall clock_adjtime clock_adjtime64 create_module get_kernel_syms getpmsg kexec_file_load
        kexec_load lookup_dcookie nfsservctl putpmsg query_module quotactl_fd security sysfs tuxcall uselib ustat vserver vm86 vm86old
        memfd_secret modify_ldt lsm_get_self_attr lsm_list_modules lsm_set_self_attr statmount listmount file_setattr
    """,
}

WITH = {
    "CAP_SYS_ADMIN": """
        bpf fanotify_init fanotify_mark fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr
        perf_event_open pivot_root quotactl setdomainname sethostname setns swapoff swapon syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
}

# --- allowed by argument ------------------------------------------------------------------------------------------------------

# sched.h: every CLONE_NEW* that clone(2) takes.
_NEW_NAMESPACES = 0x7E020000
# personality(2): Linux, 32-bit, with and without the 2.6 version number, and the query.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# AF_UNSPEC (for which the kernel has an error of its own), AF_UNIX, AF_INET, AF_INET6.
_FAMILIES = (0, 1, 2, 10)
_AF_NETLINK, _AF_PACKET = 16, 17
# NETLINK_ROUTE, SOCK_DIAG, KOBJECT_UEVENT, GENERIC: what address listing, ss, device listing and tools need.
_NETLINK_PROTOCOLS = (0, 4, 15, 16)
# Push input to, or steer, the terminal that one shares with another (ioctl_tty(2), CVE-2017-5226).
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C


def _equals(index: int, value: int) -> Condition:
    return Condition(index, "MASKED_EQ", value, _INT)


def _socket(held: frozenset[str]) -> Check:
    families = (*_FAMILIES, _AF_PACKET) if "CAP_NET_RAW" in held else _FAMILIES
    rules: list[tuple[list[Condition], int]] = [([_equals(0, family)], ALLOW) for family in families]
    rules += [([_equals(0, _AF_NETLINK), _equals(2, protocol)], ALLOW) for protocol in _NETLINK_PROTOCOLS]
    rules.append(([_equals(0, _AF_NETLINK)], errno(EPROTONOSUPPORT)))
    return Check(rules, errno(EAFNOSUPPORT))


def actions(numbers: dict[str, int], held: frozenset[str]) -> dict[int, Action]:
    """Returns the action of every call that the profile knows, by number, for a process that holds the capabilities `held`."""
    chosen: dict[str, Action] = {}
    for text in (*FORBIDDEN.values(), *WITH.values()):
        chosen |= dict.fromkeys(text.split(), errno(EPERM))
    for text in ALLOWED:
        chosen |= dict.fromkeys(text.split(), ALLOW)
    for capability, text in WITH.items():
        if capability in held:
            chosen |= dict.fromkeys(text.split(), ALLOW)
    if "CAP_SYS_ADMIN" in held:
        chosen["clone"] = ALLOW
    else:
        chosen["clone"] = Check([([Condition(0, "MASKED_EQ", 0, _NEW_NAMESPACES)], ALLOW)], errno(EPERM))
    # Its flags are behind a pointer, where a filter cannot see them: programs fall back to clone.
    chosen["clone3"] = errno(ENOSYS)
    chosen["personality"] = Check([([_equals(0, value)], ALLOW) for value in _PERSONALITIES], errno(EPERM))
    chosen["ioctl"] = Check([([_equals(1, request)], errno(EPERM)) for request in (_TIOCSTI, _TIOCLINUX)], ALLOW)
    chosen["socket"] = _socket(held)
    chosen["socketpair"] = Check([([_equals(0, 1)], ALLOW)], errno(EAFNOSUPPORT))
    # 32-bit x86's old entry to all socket calls hides the family behind a pointer; the C libraries know the direct calls.
    chosen["socketcall"] = errno(ENOSYS)
    return {numbers[name]: action for name, action in chosen.items() if name in numbers}


# --- the monitor of a machine ---------------------------------------------------------------------------------------------------

# User-Mode Linux and the helper beside it, traced with Linux 6.1 (which uses ptrace) and 7.2 (which uses a filter of its own) under
# a load of files, processes and time. Every other call answers EPERM. In a guest of 7.2 the guest's own calls pass this filter too, and
# are then trapped by the guest's kernel: that action goes before an error (seccomp(2)).
MONITOR = """
    access arch_prctl brk chmod chown clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
    fadvise64 fallocate fchmod fchmodat fchown fchownat fcntl fdatasync fork fstat fstatfs fsync ftruncate futex futimesat getcwd getdents
    getdents64 getegid geteuid getgid getitimer getpgrp getpid getppid getrandom getrlimit gettid gettimeofday getuid getxattr kill
    lchown lgetxattr link linkat llistxattr lseek lstat madvise memfd_create mincore mkdir mkdirat mknod mknodat mlock mmap mprotect mremap
    msync munlock munmap nanosleep newfstatat open openat pause personality pipe pipe2 poll ppoll prctl pread64 preadv prlimit64
    pselect6 ptrace pwrite64 pwritev read readlink readlinkat readv recvfrom recvmsg rename renameat renameat2 restart_syscall rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity
    sched_setaffinity sched_yield seccomp select sendmsg sendto set_robust_list set_tid_address setitimer setrlimit setsid
    shutdown sigaltstack signalfd signalfd4 splice stat statfs statx symlink symlinkat sync_file_range sysinfo tgkill time timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime tkill truncate umask
    uname unlink unlinkat utime utimensat utimes vfork wait4 waitid write writev bind getsockname getsockopt getpeername
"""


def monitor_actions(numbers: dict[str, int]) -> dict[int, Action]:
    """Returns the action of every call that a machine's monitor may make, by number."""
    chosen: dict[str, Action] = dict.fromkeys(MONITOR.split(), ALLOW)
    chosen["clone"] = Check([([Condition(0, "MASKED_EQ", 0, _NEW_NAMESPACES)], ALLOW)], errno(EPERM))
    chosen["clone3"] = errno(ENOSYS)
    chosen["ioctl"] = Check([([_equals(1, request)], errno(EPERM)) for request in (_TIOCSTI, _TIOCLINUX)], ALLOW)
    for name in ("socket", "socketpair"):
        chosen[name] = Check([([_equals(0, 1)], ALLOW)], errno(EAFNOSUPPORT))
    return {numbers[name]: action for name, action in chosen.items() if name in numbers}
