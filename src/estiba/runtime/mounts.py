"""The mounts of a container: what every container has, what its caller asked for, and the words of OCI mount options.

Pure: nothing is looked up. On the start path of ``run``.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from estiba.linux.facts import HostFacts
    from estiba.runtime.options import Device, MountRequest, RunOptions

    OciMount = dict[str, Any]

# mount_setattr(2)
RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
NOATIME, STRICTATIME, NODIRATIME = 0x10, 0x20, 0x80
_ATTRIBUTES = {
    "ro": RDONLY,
    "nosuid": NOSUID,
    "nodev": NODEV,
    "noexec": NOEXEC,
    "noatime": NOATIME,
    "strictatime": STRICTATIME,
    "nodiratime": NODIRATIME,
}
_NOTHING_TO_SET = ("rw", "suid", "dev", "exec", "relatime", "defaults", "bind", "rbind", "rro", "rw_below")

# mount(2)
MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x4000, 0x40000, 0x80000, 0x100000
PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
}

SHM_SIZE = 64 * 1024 * 1024
# Room for the symbolic links and folders that /dev holds, and nothing to store data in.
_DEV_SIZE = 64 * 1024

# Everything that shows the host or lets the host be changed and that no program in a container needs: the union of what other
# engines hide, and the kernel's own innards (addresses, modules, caches, page maps).
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
    "/sys/module",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Nodes that every container has (runtime-spec, config-linux.md#default-devices).
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)
# Host paths that a mount of ours may name; every other bind goes through a descriptor.
HOST_TREES = ("/proc", "/sys", "/dev/mqueue", "/dev/shm")  # noqa: S108 - a mount point
# What `standard` mounts.
STANDARD = frozenset(("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"))  # noqa: S108 - a mount point


def standard(options: RunOptions, facts: HostFacts) -> list[OciMount]:
    """Returns the file systems of a container in the order of mounting."""
    system = "rw" if options.privileged else "ro"
    return [
        _proc(options, facts),
        _dev(options, facts),
        _mount("/dev/pts", "devpts", _devpts(facts)),
        _shm(options),
        *_mqueue(options, facts),
        *_sys(options, facts, system),
    ]


def _mount(target: str, kind: str, options: list[str], source: str | None = None) -> OciMount:
    return {"destination": target, "type": kind, "source": source or kind, "options": options}


def _host(target: str, options: list[str]) -> OciMount:
    return _mount(target, "bind", ["rbind", *options], target)


def _proc(options: RunOptions, facts: HostFacts) -> OciMount:
    if options.pid == "host" or not facts.own_proc:
        return _host("/proc", ["nosuid", "noexec", "nodev"])
    return _mount("/proc", "proc", ["nosuid", "noexec", "nodev"])


def _devpts(facts: HostFacts) -> list[str]:
    words = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    # Group 5 is tty by convention; a single id has no such group.
    return words if facts.maps.kind == "single" else [*words, "gid=5"]


def _shm(options: RunOptions) -> OciMount:
    target = "/dev/shm"  # noqa: S108 - a mount point
    if options.ipc == "host":
        return _host(target, ["nosuid", "noexec", "nodev"])
    size = SHM_SIZE if options.shm_size is None else options.shm_size
    return _mount(target, "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", f"size={size}"], "shm")


def _mqueue(options: RunOptions, facts: HostFacts) -> list[OciMount]:
    words = ["nosuid", "noexec", "nodev"]
    if options.ipc != "host":
        return [_mount("/dev/mqueue", "mqueue", words)]
    return [_host("/dev/mqueue", words)] if facts.mqueue else []


def _dev(options: RunOptions, facts: HostFacts) -> OciMount:
    if options.privileged and facts.uid == 0 and facts.maps.kind == "root-range":
        return _mount("/dev", "bind", ["bind", "nosuid", "noexec"], "/dev")
    return _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", f"size={_DEV_SIZE}"])


def _sys(options: RunOptions, facts: HostFacts, access: str) -> list[OciMount]:
    words = ["nosuid", "noexec", "nodev", access]
    # A sysfs shows the network devices of the namespace that owns it: with the host's network it is the host's.
    if options.network == "host" or not facts.own_sys:
        return [_host("/sys", words)]
    mounts = [_mount("/sys", "sysfs", words)]
    if facts.cgroups.has_version2 and options.cgroupns == "private":
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", words, "cgroup"))
    return mounts


def device_mounts(devices: Sequence[Device], every: Sequence[str]) -> list[OciMount]:
    """Returns binds of device nodes: those asked for by name, and `every` other one (--privileged of an ordinary user).

    A bind, because mknod(2) of a device is refused in a user namespace.
    """
    words = ["bind", "nosuid", "noexec"]
    named = {device.target: _mount(device.target, "bind", words, device.source) for device in devices}
    for path in every:
        if path not in DEVICES and path not in ("/dev/ptmx", "/dev/console"):
            named.setdefault(path, _mount(path, "bind", words, path))
    return list(named.values())


def user_mounts(requests: list[MountRequest]) -> list[OciMount]:
    """Returns the caller's mounts, outer ones first. Raises InvalidArgument for two mounts on one path and for /proc.

    A later request of the same target replaces an earlier one of an image's VOLUME, so `requests` holds those first.
    """
    chosen: dict[str, OciMount] = {}
    for request in requests:
        if request.target == "/proc" or request.target.startswith("/proc/"):
            raise InvalidArgument(f"cannot mount on {request.target}: /proc is the container's own")
        if request.target in chosen:
            raise InvalidArgument(f"cannot mount on {request.target}: two mounts name it")
        chosen[request.target] = _of_request(request)
    return sorted(chosen.values(), key=lambda mount: int(mount["destination"].count("/")))


def _of_request(request: MountRequest) -> OciMount:
    if request.type == "tmpfs":
        words = ["nosuid", "nodev", "ro" if request.read_only else "rw"]
        words += [] if request.executable else ["noexec"]
        words += [] if request.size is None else [f"size={request.size}"]
        return _mount(request.target, "tmpfs", [*words, f"mode={0o1777 if request.mode is None else request.mode:o}"])
    words = ["rbind" if request.recursive else "bind", request.propagation, "nosuid", "nodev"]
    if request.read_only:
        words += ["ro"] if request.recursive_read_only else ["ro", "rw_below"]
    return _mount(request.target, "bind", words, request.source)


def attributes(words: list[str]) -> tuple[int, list[str]]:
    """Splits OCI mount options into MOUNT_ATTR_* flags and the file system's own options."""
    flags, rest = 0, []
    for word in words:
        if word in _ATTRIBUTES:
            flags |= _ATTRIBUTES[word]
        elif word not in _NOTHING_TO_SET and word not in PROPAGATION:
            rest.append(word)
    return flags, rest


def propagation(words: list[str]) -> int:
    """Returns the MS_* flags of the propagation word among `words`, 0 where there is none."""
    for word in words:
        if word in PROPAGATION:
            return PROPAGATION[word]
    return 0


def is_recursive(words: list[str]) -> bool:
    """Tells whether a bind takes along what is mounted below its source."""
    return "rbind" in words
