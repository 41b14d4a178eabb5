"""What the pure half of the runtime must know of this machine, gathered once per start.

This module is on the start path of ``run``: a few cheap system calls, and no probe that makes something.
"""

from __future__ import annotations

import os

from estiba.linux import cgroup, idmap, mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings

_DEVICE_FOLDERS_OF_OUR_OWN = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd")  # noqa: S108 - not a temporary file


class HostFacts:
    """One machine as one caller sees it.

    `maps` are the id maps of the container to be made. `rlimits` gives the hard limit of each resource number. `own_proc` and
    `own_sys` tell whether a new procfs or sysfs may be mounted in a user namespace (an outer container may have hidden parts
    of them: then the kernel refuses, and the outer ones are bound). `devices` are the caller's device nodes; they are listed
    only when asked for. `mqueue` tells whether the host has a /dev/mqueue to share. `store_type` is the type of
    the store's file system where it is one without a device (overlay, tmpfs, nfs), else empty.
    """

    __slots__ = ("cgroups", "cpus", "devices", "maps", "mqueue", "own_proc", "own_sys", "rlimits", "store_type", "uid")

    def __init__(
        self,
        *,
        uid: int,
        maps: idmap.IdMaps,
        cgroups: cgroup.Host,
        cpus: int,
        rlimits: dict[int, int],
        own_proc: bool = True,
        own_sys: bool = True,
        devices: Sequence[str] = (),
        mqueue: bool = True,
        store_type: str = "",
    ) -> None:
        self.uid = uid
        self.maps = maps
        self.cgroups = cgroups
        self.cpus = cpus
        self.rlimits = rlimits
        self.own_proc = own_proc
        self.own_sys = own_sys
        self.devices = tuple(devices)
        self.mqueue = mqueue
        self.store_type = store_type


def gather(settings: Settings, maps: idmap.IdMaps, *, every_device: bool = False) -> HostFacts:
    """Reads the facts. `every_device` lists /dev, for --privileged."""
    mounts = mountinfo.read_kernel_trees()
    return HostFacts(
        uid=settings.uid,
        maps=maps,
        cgroups=cgroup.Host.of(settings, mounts),
        cpus=len(os.sched_getaffinity(0)),
        rlimits=hard_limits(),
        own_proc=mountinfo.fully_visible(mounts, "/proc"),
        own_sys=mountinfo.fully_visible(mounts, "/sys"),
        devices=device_nodes() if every_device else (),
        store_type=_store_type(settings.root),
        mqueue=any(mount.target == "/dev/mqueue" for mount in mounts),
    )


# The rows of /proc/self/limits in the order of setrlimit(2)'s numbers (fs/proc/base.c, lnames).
_LIMIT_COLUMN = 26


def hard_limits() -> dict[int, int]:
    """Returns this process's hard limits by resource number, -1 for unlimited (proc_pid_limits(5)).

    The module `resource` would be a shared object to load, which costs ten times as much.
    """
    with open("/proc/self/limits", "rb") as file:
        rows = file.read().splitlines()[1:]
    hard = [row[_LIMIT_COLUMN:].split()[1] for row in rows]
    return {number: -1 if value == b"unlimited" else int(value) for number, value in enumerate(hard)}


def _store_type(root: str) -> str:
    try:
        if os.major(os.stat(root).st_dev):
            return ""
    except FileNotFoundError:
        return ""
    mount = mountinfo.covering(mountinfo.read(), os.path.realpath(root))
    return mount.fstype if mount else ""


def device_nodes(folder: str = "/dev") -> list[str]:
    """Returns the paths of the device nodes below `folder`, but for terminals and what a container has of its own."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() or entry.path in _DEVICE_FOLDERS_OF_OUR_OWN:
                continue
            if entry.is_dir():
                found += device_nodes(entry.path)
            elif not entry.is_file() and entry.stat().st_rdev:
                found.append(entry.path)
    return sorted(found)
