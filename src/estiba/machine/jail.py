"""The jail of a machine monitor as an OCI runtime spec: what it runs on the host, for `runtime.compile`. Pure. On the start path.

Its root is the layer of the kernel and that of the monitor, read-only. Beside what every container has there are a folder for what
the monitor writes (`layout.STATE`), one for the guest's memory, and the disks and binds, which are mounted one by one. It has no
network, and no capability but for what binds need.
"""

from __future__ import annotations

from estiba.machine import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_NAMESPACES = ("mount", "pid", "ipc", "uts", "cgroup", "user", "network")
# What the monitor writes, and the initramfs without the plan.
_STATE_SIZE = 32 << 20
# The monitor's own structures lie in the memory file beside the guest's memory.
_MEMORY_SLACK = 16 << 20
#: Of what the caller may do with the files of its binds, what a monitor must be allowed to do in its guest's name.
BIND_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID")


class Disk:
    """A file of the host that the guest sees as a disk: where it is in the jail, and whether it is written to."""

    __slots__ = ("number", "target", "writable")

    def __init__(self, number: int, *, writable: bool) -> None:
        self.number = number
        self.target = f"{layout.DISKS}/{number}"
        self.writable = writable


def spec(
    *,
    memory: int,
    plan: int,
    terminal: bool,
    disks: Sequence[Disk],
    binds: Sequence[Sequence[str]],
    boot: bool = False,
    kvm: bool = False,
    annotations: dict[str, str],
) -> dict[str, Any]:
    """Returns the spec of a jail for a guest whose memory is a file of `memory` bytes (0: it is none) and a plan of `plan` bytes.

    `binds` are the mount options of each bind, which is at `layout.BINDS/<number>`; `boot` tells whether there is the disk `layout.BOOT`,
    `kvm` whether there is /dev/kvm. Slots stand for the sources of disks and binds.
    """
    return {
        "process": process(terminal=terminal, held=BIND_CAPABILITIES if binds else ()),
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "machine",
        "mounts": [*_kernel(terminal=terminal), *_folders(memory, plan), *_disks(disks), *_binds(binds), *_others(boot=boot, kvm=kvm)],
        "annotations": annotations,
        "linux": {**namespaces(), "sysctl": {}, "resources": {}},
    }


def process(*, terminal: bool, held: Sequence[str]) -> dict[str, Any]:
    """Returns a process of the jail with the capabilities `held`."""
    return {
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0, "umask": 0o022},
        "args": [],
        "env": [],
        "cwd": "/",
        "capabilities": {"bounding": held, "effective": held, "permitted": held},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "noNewPrivileges": True,
    }


def namespaces() -> dict[str, Any]:
    """Returns the jail's own namespaces, as the member `linux` has them."""
    return {"namespaces": [{"type": kind} for kind in _NAMESPACES]}


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": target if kind == "bind" else kind, "options": list(options)}


def _kernel(*, terminal: bool) -> list[dict[str, Any]]:
    mounts = [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536"),
    ]
    if terminal:
        mounts.append(_mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"))
    return mounts


def _folders(memory: int, plan: int) -> list[dict[str, Any]]:
    mounts = [_mount(layout.STATE, "tmpfs", "nosuid", "nodev", "noexec", "mode=700", f"size={_STATE_SIZE + plan}")]
    if memory:
        mounts.append(_mount(layout.MEMORY, "tmpfs", "nosuid", "nodev", "mode=700", f"size={memory + _MEMORY_SLACK}"))
    return [*mounts, _mount(layout.INIT, "bind", "bind", "ro", "nosuid", "nodev", "noexec")]


def _disks(disks: Sequence[Disk]) -> list[dict[str, Any]]:
    return [_mount(disk.target, "bind", "bind", *([] if disk.writable else ["ro"]), "nosuid", "nodev", "noexec") for disk in disks]


def _binds(binds: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    return [_mount(f"{layout.BINDS}/{number}", "bind", *options, "noexec") for number, options in enumerate(binds)]


def _others(*, boot: bool, kvm: bool) -> list[dict[str, Any]]:
    mounts = [_mount(layout.BOOT, "bind", "bind", "ro", "nosuid", "nodev", "noexec")] if boot else []
    return [*mounts, _mount(layout.KVM, "bind", "bind", "nosuid", "noexec")] if kvm else mounts
