"""The control groups that a bundle asks for: where they are, and making, emptying and removing them (runtime-spec,
config-linux.md#cgroups-path). On version 1 a container has a group in every hierarchy, as engines that read its figures expect.
"""

from __future__ import annotations

import os
import time

from estiba.engine.oci_runtime.resources import version1, version2
from estiba.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from estiba.linux import mountinfo
from estiba.linux.idmap import ALL_IDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from estiba.engine.oci_runtime.config import Section

_PATIENCE_SECONDS = 10.0


class Hierarchy:
    """A mounted hierarchy: where, its controllers (none of version 2 are named), and the caller's own group in it."""

    __slots__ = ("controllers", "own", "root", "target", "unified")

    def __init__(self, target: str, root: str, controllers: Sequence[str], own: str, *, unified: bool) -> None:
        self.target = target
        self.root = root
        self.controllers = tuple(controllers)
        self.own = own
        self.unified = unified

    @property
    def name(self) -> str:
        """The last component of where it is mounted."""
        return os.path.basename(self.target)

    def path(self, asked: str, name: str) -> str:
        """Where a container's group is: `asked` from the hierarchy's root where it is absolute, else from the caller's own group."""
        inside = asked if asked.startswith("/") else f"{self.own.rstrip('/')}/{asked or name}"
        if ".." in inside.split("/"):
            raise InvalidArgument(f"cannot use cgroup path {asked}: it leads upwards")
        prefix = self.root.rstrip("/")
        return os.path.normpath(f"{self.target}/{inside.removeprefix(prefix)}")


def hierarchies() -> list[Hierarchy]:
    """Those of version 1, or the one of version 2 where it is alone."""
    own = _own_groups()
    found: dict[str, Hierarchy] = {}
    unified = None
    for mount in mountinfo.read_kernel_trees():
        if mount.fstype == "cgroup2" and unified is None:
            unified = Hierarchy(mount.target, mount.root, (), own.get("", "/"), unified=True)
        elif mount.fstype == "cgroup":
            words = mount.super_options.split(",")
            names = [word for word in words if f",{word}," in f",{','.join(own)}," or word.startswith("name=")]
            key = ",".join(names)
            if names and key not in found:
                found[key] = Hierarchy(mount.target, mount.root, names, own.get(names[0], "/"), unified=False)
    return list(found.values()) or ([unified] if unified is not None else [])


def _own_groups() -> dict[str, str]:
    """Controller -> the caller's group, "" for version 2 (cgroups(7), /proc/pid/cgroup)."""
    groups: dict[str, str] = {}
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            for name in names.split(","):
                groups[name] = path
    return groups


def missing_directories(path: str) -> list[str]:
    """The directories of a group's path that are not there yet, the outermost first."""
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing[::-1]


def make(hierarchy: Hierarchy, path: str) -> bool:
    """Makes a group and what is above it; False where the caller may not."""
    for folder in missing_directories(path):
        try:
            os.mkdir(folder, 0o755)
        except FileExistsError:
            continue
        except OSError as error:
            if os.geteuid() != 0:
                return False
            raise PermissionDenied(f"cannot make cgroup {folder}: {error.strerror}") from error
    if "cpuset" in hierarchy.controllers:
        _inherit_cpuset(hierarchy, path)
    if hierarchy.unified:
        _hand_down_controllers(hierarchy, path)
    return True


def _steps(hierarchy: Hierarchy, path: str) -> list[str]:
    """The groups from the hierarchy's root, without it, to `path`."""
    parts = path.removeprefix(hierarchy.target).strip("/").split("/")
    return [f"{hierarchy.target}/{'/'.join(parts[: index + 1])}" for index in range(len(parts))]


def _inherit_cpuset(hierarchy: Hierarchy, path: str) -> None:
    """A group of version 1 takes no process before it has processors and memory nodes."""
    for folder in _steps(hierarchy, path):
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not read(f"{folder}/{name}"):
                write(f"{folder}/{name}", read(f"{os.path.dirname(folder)}/{name}"))


def _hand_down_controllers(hierarchy: Hierarchy, path: str) -> None:
    """A controller is in a group when every group above hands it down (cgroup-v2.rst, "Enabling and Disabling")."""
    for folder in [hierarchy.target, *_steps(hierarchy, path)[:-1]]:
        there = read(f"{folder}/cgroup.controllers").split()
        for name in set(there) - set(read(f"{folder}/cgroup.subtree_control").split()):
            try:
                write(f"{folder}/cgroup.subtree_control", f"+{name}")
            except FailedPrecondition:
                continue  # it has processes itself; a limit that needs the controller fails when it is set


def limit(hierarchy: Hierarchy, path: str, resources: Section) -> None:
    """Sets the limits of `resources` that this hierarchy has. Raises FailedPrecondition naming the file."""
    for file, value in version2(resources) if hierarchy.unified else version1(hierarchy.controllers, resources, path):
        write(f"{path}/{file}", value)


def set_all(groups: Sequence[tuple[Hierarchy, str]], resources: Section) -> None:
    """Sets all limits. Raises FailedPrecondition for one that no hierarchy has."""
    for hierarchy, path in groups:
        limit(hierarchy, path, resources)
    there = {name for hierarchy, _ in groups for name in hierarchy.controllers}
    unified = any(hierarchy.unified for hierarchy, _ in groups)
    needed = {"memory": "memory", "cpu": "cpu", "pids": "pids", "blockIO": "blkio", "hugepageLimits": "hugetlb", "rdma": "rdma"}
    for key, controller in needed.items():
        if resources.value.get(key) and not unified and controller not in there:
            raise FailedPrecondition(f"cannot limit {key}: this machine has no control group of {controller}")
    network = resources.section("network")
    for key, controller in (("classID", "net_cls"), ("priorities", "net_prio")):
        if network.value.get(key) and controller not in there:
            raise FailedPrecondition(f"cannot set network.{key}: this machine has no control group of {controller}")
    if resources.value.get("unified") and not unified:
        raise FailedPrecondition("cannot use resources.unified: this machine has control groups of version 1")


def may_make_devices() -> bool:
    """Whether this process is root in the first user namespace: nobody else can make a device, or load rules for it (mknod(2), bpf(2))."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return os.geteuid() == 0 and file.read().split() == ["0", "0", str(ALL_IDS)]


def require_devices(hierarchies: Iterable[Hierarchy]) -> None:
    """Refuses to make a container whose devices nothing would limit. Raises FailedPrecondition."""
    limited = any(hierarchy.unified or "devices" in hierarchy.controllers for hierarchy in hierarchies)
    if not limited and may_make_devices():
        raise FailedPrecondition("cannot limit devices: this machine has no control group of devices")


def members(groups: Sequence[str], *, below: bool = True) -> list[int]:
    """The processes of the first of these groups that is there, and of those below it."""
    for group in groups:
        if not os.path.isdir(group):
            continue
        found = {int(word) for word in read(f"{group}/cgroup.procs").split()}
        for folder, _, _ in os.walk(group) if below else ():
            found |= {int(word) for word in read(f"{folder}/cgroup.procs").split()}
        return sorted(found)
    return []


def remove(group: str) -> None:
    """Removes a group and those below it, waiting for the last processes to be gone. Raises FailedPrecondition."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            for folder, _, _ in os.walk(group, topdown=False):
                os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > until:
                raise FailedPrecondition(f"cannot remove cgroup {group}: {error.strerror}", hint="a process is left in it") from error
            time.sleep(0.01)
        else:
            return


def read(path: str) -> str:
    """A file's text without its last newline, empty where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    except OSError as error:
        if error.errno == 19:  # ENODEV: the group was removed while its file was open
            return ""
        raise


def write(path: str, value: str) -> None:
    """Writes a control file. Raises FailedPrecondition."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FailedPrecondition(f"cannot set {path} to {value}: {error.strerror}") from error
