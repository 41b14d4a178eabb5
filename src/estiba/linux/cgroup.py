"""Control groups, version 1, version 2 and both at once, behind one interface (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).

`Host.of` says what is there; `Host.groups` turns the `linux.resources` of an OCI runtime spec into the directories to make and
the files to write in them (pure; the files are in `cgroup_files`); `make` makes them. Container groups are
``<hierarchy>/estiba/<container id>``; the folder goes with the last of them. A container has a group in every hierarchy of `TRACKED`,
limit or not: what it uses is counted there, and there it can be stopped. On version 1 each further one costs an attach and a removal.

This module is on the start path of ``run``: it imports os, the error tree and its neighbour only.
"""

from __future__ import annotations

import errno
import os

from estiba.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from estiba.linux.cgroup_files import not_in_version2, version1, version2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.linux.cgroup_files import Write
    from estiba.linux.mountinfo import Mount

PARENT = "estiba"
#: What has limits. Version 1's blkio is called by version 2's name.
CONTROLLERS = ("memory", "pids", "cpu", "cpuset", "io", "devices")
#: What every container is counted and stopped by; and what one that stays is given besides, so that it can be limited while it runs.
TRACKED = ("freezer", "cpuacct", "memory", "pids")
CHANGEABLE = (*TRACKED, "cpu", "cpuset", "io")
#: Version 2 has these in every group.
_ALWAYS = ("freezer", "cpuacct")
_KNOWN = (*CONTROLLERS, *_ALWAYS)
#: What a group of version 1 must be given, and can be given no more of than its parent has (cpuset(7)).
_OF_PARENT = ("cpuset.cpus", "cpuset.mems")


class Group:
    """One directory to make: `base` of its hierarchy, its `path` below that, and the writes, in their order.

    Version 2 only: `controllers` that it must have, `others` that are left out where they cannot be had, and the program that decides
    about devices, empty where none does.
    """

    __slots__ = ("base", "controllers", "devices", "others", "path", "writes")

    def __init__(
        self, base: str, path: str, writes: Iterable[Write] = (), controllers: Iterable[str] = (), others: Iterable[str] = ()
    ) -> None:
        self.base = base
        self.path = path
        self.writes = list(writes)
        self.controllers = list(controllers)
        self.others = list(others)
        self.devices = b""


class Host:
    """Where each controller may be used. `folders` maps a controller to the directory that holds ``estiba/``; `reasons` says why
    a controller that is missing there cannot be used.
    """

    __slots__ = ("folders", "reasons", "unified")

    def __init__(self, folders: Mapping[str, str], reasons: Mapping[str, str], unified: str = "") -> None:
        self.folders = dict(folders)
        self.reasons = dict(reasons)
        # The folder whose groups are of version 2, maybe without any controller; empty when there is none that may be used.
        self.unified = unified

    @classmethod
    def of(cls, settings: Settings, mounts: Sequence[Mount]) -> Host:
        """Looks at the mounted hierarchies. Nothing is made, and nothing is written."""
        folders: dict[str, str] = {}
        reasons: dict[str, str] = {}
        base = ""
        for mount in mounts:
            if mount.fstype == "cgroup":
                names = ["io" if word == "blkio" else word for word in mount.super_options.split(",")]
                _note([name for name in names if name in _KNOWN], mount.target, "cgroup version 1", folders, reasons)
            elif mount.fstype == "cgroup2" and not base:
                base = _unified_base(settings.uid, mount.target)
        if base:
            names = [name for name in _words(f"{base}/cgroup.controllers") if name in CONTROLLERS]
            if "devices" in folders:
                pass  # of version 1
            elif settings.uid == 0:
                names.append("devices")
            else:
                reasons.setdefault("devices", "on cgroup version 2 its rules are a program of the kernel (BPF), which takes root")
            # Before version 1's freezer: what stands still there can be killed all the same.
            if not _note([*names, *_ALWAYS], base, "cgroup version 2", folders, reasons):
                base = ""
        return cls(folders, reasons, base)

    def available(self, controller: str) -> bool:
        """Tells whether containers of this caller can have limits of `controller`."""
        return controller in self.folders

    def is_version2(self, controller: str) -> bool:
        """Tells whether `controller` can be used, and is one of version 2."""
        return bool(self.unified) and self.folders.get(controller) == self.unified

    @property
    def has_version2(self) -> bool:
        """Tells whether any controller is one of version 2; a hybrid host has a hierarchy of it without."""
        return any(map(self.is_version2, CONTROLLERS))

    def counts_swap(self) -> bool:
        """Tells whether a limit of memory and swap together is understood; of version 2 only a group itself could tell."""
        folder = self.folders.get("memory", "")
        return self.is_version2("memory") or os.path.exists(f"{folder}/memory.memsw.limit_in_bytes")

    def reason(self, controller: str) -> str:
        """Why `controller` cannot be used."""
        return self.reasons.get(controller, "no mounted cgroup hierarchy has it")

    def require(self, controller: str, what: str) -> None:
        """Raises FailedPrecondition, with the reason, unless `controller` can be used for `what`."""
        if controller not in self.folders:
            raise FailedPrecondition(
                f"cannot limit {what}: the {controller} controller cannot be used: {self.reason(controller)}",
                hint="run as root, or from a session with a delegated cgroup: systemd-run --user --scope estiba run ...",
            )

    def groups(
        self, container_id: str, resources: Mapping[str, Any], *, parent: str = PARENT, also: Iterable[str] = ()
    ) -> list[Group]:
        """Returns the groups that hold a container to `resources` (runtime-spec, config-linux.md#control-groups).

        Parameters: `parent`, the folder below each hierarchy that holds them; `also`, controllers in whose hierarchies the container has
        a group without a limit where they can be used.
        Raises FailedPrecondition when a limit needs a controller that cannot be used, or one of the other version.
        """
        first, second = version1(resources), version2(resources)
        found: dict[str, Group] = {}
        for controller in first.keys() | second.keys():
            self.require(controller, _WHAT[controller])
        if self.is_version2("memory"):
            not_in_version2(resources)
        for controller in first:
            group = self._group(found, controller, container_id, parent)
            if controller == "devices" and self.is_version2(controller):
                from estiba.linux.device_program import device_program

                group.devices = device_program(resources["devices"], allowed=True)
            elif self.is_version2(controller):
                group.writes += second.get(controller, ())
                group.controllers.append(controller)
            else:
                group.writes += first[controller]
        for controller in also:
            if controller in self.folders and controller not in first:
                group = self._group(found, controller, container_id, parent)
                if controller == "cpuset" and not self.is_version2("cpuset"):
                    group.writes += [("cpuset.cpus", ""), ("cpuset.mems", "")]
                elif self.is_version2(controller) and controller not in _ALWAYS:
                    group.others.append(controller)
        return list(found.values())

    def _group(self, found: dict[str, Group], controller: str, container_id: str, parent: str) -> Group:
        """The container's group in the hierarchy of `controller`: of version 1, too, one may hold several."""
        base = self.folders[controller]
        return found.setdefault(base, Group(base, f"{base}/{parent}/{container_id}"))


_WHAT = {
    "memory": "memory",
    "pids": "the number of processes",
    "cpu": "processor time",
    "cpuset": "processors",
    "io": "block devices",
    "devices": "devices",
}


def _note(names: Iterable[str], folder: str, version: str, folders: dict[str, str], reasons: dict[str, str]) -> bool:
    # Of the folder in it, where it is another's to give; it comes and goes with containers, so nothing is concluded from its absence.
    writable = os.access(folder, os.W_OK) or os.access(f"{folder}/{PARENT}", os.W_OK)
    for name in names:
        if writable:
            folders[name] = folder
        else:
            reasons[name] = f"{folder} ({version}) is not writable for this user"
    return writable


def _unified_base(uid: int, root: str) -> str:
    """Returns the version 2 directory below which this caller may make groups: for root the hierarchy's own root; for a user the
    service that systemd delegates to him, when this process is inside it (a process may only be moved below a common ancestor
    that the mover may write to, cgroup-v2.rst "Delegation Containment").
    """
    if uid == 0:
        return root
    own = _own_unified_path()
    marker = f"/user@{uid}.service"
    head, found, _ = own.partition(marker)
    return f"{root}{head}{marker}" if found else f"{root}{own}".rstrip("/")


def _own_unified_path() -> str:
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].rstrip("\n")
    return ""


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    except (FileNotFoundError, PermissionError):
        return []
    except OSError as error:
        if error.errno != errno.ENODEV:  # the group was removed while its file was open
            raise
        return []


def parent_folder(text: str) -> str:
    """Returns the folder of --cgroup-parent below each hierarchy. Raises InvalidArgument for one that leads elsewhere."""
    parts = text.strip("/").split("/")
    if not text.isprintable() or len(text) > 1024 or any(part in ("", ".", "..") or len(part) > 255 for part in parts):
        shown = f"cannot use --cgroup-parent {text[:80]!r}"
        raise InvalidArgument(f"{shown}: not the path of a control group", hint="for example: services/web")
    return "/".join(parts)


# --- making and removing ---------------------------------------------------------------------------------------------------


def make(group: Group) -> int:
    """Makes the group and returns a descriptor of its directory.

    Raises PermissionDenied or FailedPrecondition naming the file that the kernel refused; the group is removed again then.
    """
    try:
        while not _made(group.path):
            os.makedirs(os.path.dirname(group.path), 0o755, exist_ok=True)
    except OSError as error:
        raise PermissionDenied(f"cannot make cgroup {group.path}: {error.strerror}") from error
    try:
        enable(group)
        for write in group.writes:
            if write[0] in _OF_PARENT and not group.controllers:
                _inherited(group.path, write[0])  # a new folder above has no value, and a group has none that is not its parent's
            apply(group.path, write)
    except FailedPrecondition:
        remove(group.path)
        raise
    return os.open(group.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _made(path: str) -> bool:
    """Makes a group; False when there is no folder for it, because the last container has just left it."""
    try:
        os.mkdir(path, 0o755)
    except FileNotFoundError:
        return False
    return True


def apply(path: str, write: Write) -> None:
    """Writes a limit into the group `path`: into the first file of the write that is there. Raises FailedPrecondition."""
    if _is_met_without_swap(path, write[0]):
        return
    pairs = list(zip(write[::2], write[1::2], strict=True))
    for file, value in pairs:
        if len(pairs) == 1 or os.path.exists(f"{path}/{file}"):
            _write(f"{path}/{file}", value or _inherited(path, file))
            return
    raise FailedPrecondition(f"cannot set {path}/{pairs[-1][0]} to {pairs[-1][1]}: this kernel has no such limit")


def _is_met_without_swap(path: str, file: str) -> bool:
    """Tells whether a limit of swap needs no file: the kernel does not count swap, and there is none."""
    if file not in ("memory.swap.max", "memory.memsw.limit_in_bytes") or os.path.exists(f"{path}/{file}"):
        return False
    try:
        return len(_read("/proc/swaps").splitlines()) < 2
    except FileNotFoundError:  # a kernel without swap
        return True


def enable(group: Group) -> None:
    """Has the parents hand the controllers of a group of version 2 down to it (cgroup-v2.rst, "Enabling and Disabling").

    Raises FailedPrecondition when they cannot.
    """
    if not group.controllers and not group.others:
        return
    here = _words(f"{group.path}/cgroup.controllers")
    missing = [name for name in group.controllers if name not in here]
    others = [name for name in group.others if name not in here and name not in missing]
    if not missing and not others:
        return
    folder = group.base
    for part in group.path[len(group.base) + 1 :].split("/"):
        if missing:
            _write(f"{folder}/cgroup.subtree_control", " ".join("+" + name for name in missing))
        for name in others:
            try:
                _write(f"{folder}/cgroup.subtree_control", f"+{name}")
            except FailedPrecondition:
                continue  # nobody has asked for it
        folder = f"{folder}/{part}"


def _inherited(path: str, file: str) -> str:
    """The value that the parent of a group of `cpuset` has. One that was never set has its own parent's (cpuset(7))."""
    parent = os.path.dirname(path)
    value = _read(f"{parent}/{file}")
    if not value:
        if not os.path.exists(f"{os.path.dirname(parent)}/{file}"):
            raise FailedPrecondition(f"cannot set {path}/{file}: its parent has no value")
        value = _inherited(parent, file)
        _write(f"{parent}/{file}", value)
    return value


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def write_file(path: str, value: str) -> None:
    """Writes to a file of a group. Raises OSError, FileNotFoundError for one that the kernel does not have.

    Not by `open`, which would have it made where it is missing: the kernel answers to that with EACCES.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode("ascii"))
    finally:
        os.close(descriptor)


def _write(path: str, value: str) -> None:
    try:
        write_file(path, value)
    except OSError as error:
        raise FailedPrecondition(f"cannot set {path} to {value}: {error.strerror}") from error


def remove(path: str) -> bool:
    """Removes an empty group, and the one that held it where that is empty, too; returns False when processes are left in it. A missing
    one is removed already.
    """
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    parent = os.path.dirname(path)
    if is_shared(parent):
        try:
            if os.stat(parent).st_uid == os.geteuid():
                os.rmdir(parent)
        except OSError:
            pass  # another container's group is in it, or another command was faster
    return True


def is_shared(path: str) -> bool:
    """Tells whether this is the folder of all containers, which the last one takes away. One of --cgroup-parent is its user's."""
    return os.path.basename(path) == PARENT


def members(path: str) -> list[int]:
    """Returns the ids of the processes in a group."""
    return [int(word) for word in _words(f"{path}/cgroup.procs")]
