"""/proc/self/mountinfo (proc_pid_mountinfo(5)), read once and asked little.

This module is on the start path of ``run``: it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Mount:
    """One line: mount point, file system type, options of the mount, options of the super block, device `major:minor`, root."""

    __slots__ = ("device", "fstype", "options", "root", "super_options", "target")

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        rest = after.split(" ")
        self.device = fields[2]
        self.root = unescape(fields[3])
        self.target = unescape(fields[4])
        self.options = fields[5]
        self.fstype = rest[0]
        self.super_options = rest[2] if len(rest) > 2 else ""


def read(path: str = "/proc/self/mountinfo") -> list[Mount]:
    """Returns the mounts of this process's mount namespace, in their order."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return [Mount(line.rstrip("\n")) for line in file]


def read_kernel_trees(path: str = "/proc/self/mountinfo") -> list[Mount]:
    """Returns the mounts of `read` that are in /proc or /sys or /dev/mqueue, or are control groups: a host may have hundreds of
    others, and a start asks for none of them.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().split("\n")
    return [Mount(line) for line in lines if line and _is_kernels(line)]


def _is_kernels(line: str) -> bool:
    return line.split(" ", 5)[4].startswith(("/proc", "/sys", "/dev/mqueue")) or " - cgroup" in line


def unescape(text: str) -> str:
    """Undoes the octal escapes of space, tab, newline and backslash."""
    if "\\" not in text:
        return text
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, character)
    return text


def covering(mounts: Sequence[Mount], path: str) -> Mount | None:
    """Returns the mount that `path` (absolute, no symbolic links) lies on: the last of the longest mount points."""
    best: Mount | None = None
    for mount in mounts:
        inside = mount.target == "/" or path == mount.target or path.startswith(mount.target + "/")
        if inside and (best is None or len(mount.target) >= len(best.target)):
            best = mount
    return best


# Directories that the kernel keeps empty for a mount: what is mounted there hides nothing (fs/namespace.c,
# mnt_already_visible, and the callers of proc_create_mount_point, sysfs_create_mount_point and register_sysctl_mount_point).
_MOUNT_POINTS = {
    "/proc": ("/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd", "/proc/openprom"),
    "/sys": (
        "/sys/fs/cgroup",
        "/sys/fs/bpf",
        "/sys/fs/fuse/connections",
        "/sys/fs/pstore",
        "/sys/fs/selinux",
        "/sys/fs/smackfs",
        "/sys/fs/resctrl",
        "/sys/kernel/security",
        "/sys/kernel/debug",
        "/sys/kernel/tracing",
        "/sys/kernel/config",
        "/sys/firmware/efi/efivars",
        "/sys/hypervisor/s390",
    ),
}


def fully_visible(mounts: list[Mount], root: str) -> bool:
    """Tells whether a user namespace may mount the file system of `root` (/proc or /sys) anew.

    The kernel allows it only where nothing of the present one is covered (mount_namespaces(7), "locked").
    """
    allowed = _MOUNT_POINTS[root]
    seen = False
    for mount in mounts:
        if mount.target == root:
            seen = mount.root == "/"
        elif mount.target.startswith(root + "/") and not any(
            mount.target == point or mount.target.startswith(point + "/") for point in allowed
        ):
            return False
    return seen
