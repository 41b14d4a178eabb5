"""Control groups, version 1, version 2 and both at once, behind one interface (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).

`Host.of` says what is there; `Host.groups` turns the `linux.resources` of an OCI runtime spec into the directories to make and
the files to write in them (pure); `make` makes them. Container groups are ``<hierarchy>/estiba/<container id>``. On version 1 a
container joins only the hierarchies in which it has a limit: each one costs an attach and a removal.

This module is on the start path of ``run``: it imports os and the error tree only.
"""

from __future__ import annotations

import os

from estiba.errors import FailedPrecondition, PermissionDenied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.linux.mountinfo import Mount

PARENT = "estiba"
CONTROLLERS = ("memory", "pids", "cpu", "cpuset", "devices")


class Group:
    """One directory to make: its path, and the (file, value) pairs to write, in their order."""

    __slots__ = ("controllers", "path", "writes")

    def __init__(self, path: str, writes: Sequence[tuple[str, str]], controllers: Sequence[str] = ()) -> None:
        self.path = path
        self.writes = tuple(writes)
        # Version 2 only: what the parents' cgroup.subtree_control must name.
        self.controllers = tuple(controllers)


class Host:
    """Where each controller may be used. `folders` maps a controller to the directory that holds ``estiba/``; `reasons` says why
    a controller that is missing there cannot be used.
    """

    __slots__ = ("folders", "reasons", "unified")

    def __init__(self, folders: Mapping[str, str], reasons: Mapping[str, str], unified: str = "") -> None:
        self.folders = dict(folders)
        self.reasons = dict(reasons)
        # The folder whose controllers are those of version 2; empty when all come from version 1.
        self.unified = unified

    @classmethod
    def of(cls, settings: Settings, mounts: Sequence[Mount]) -> Host:
        """Looks at the mounted hierarchies. Nothing is made, and nothing is written."""
        folders: dict[str, str] = {}
        reasons: dict[str, str] = {}
        unified = ""
        for mount in mounts:
            if mount.fstype == "cgroup":
                for name in mount.super_options.split(","):
                    if name in CONTROLLERS:
                        _note(name, mount.target, "cgroup version 1", folders, reasons)
            elif mount.fstype == "cgroup2" and not unified:
                base = _unified_base(settings.uid, mount.target)
                names = [name for name in _words(f"{base}/cgroup.controllers") if name in CONTROLLERS]
                unified = base if names else ""
                for name in names:
                    _note(name, base, "cgroup version 2", folders, reasons)
        return cls(folders, reasons, unified)

    def available(self, controller: str) -> bool:
        """Tells whether containers of this caller can have limits of `controller`."""
        return controller in self.folders

    def require(self, controller: str, what: str) -> None:
        """Raises FailedPrecondition, with the reason, unless `controller` can be used for `what`."""
        if controller not in self.folders:
            reason = self.reasons.get(controller, "no mounted cgroup hierarchy has it")
            raise FailedPrecondition(
                f"cannot limit {what}: the {controller} controller cannot be used: {reason}",
                hint="run as root, or from a session with a delegated cgroup: systemd-run --user --scope estiba run ...",
            )

    def groups(self, container_id: str, resources: Mapping[str, Any]) -> list[Group]:
        """Returns the groups that hold a container to `resources` (runtime-spec, config-linux.md#control-groups).

        Raises FailedPrecondition when a limit needs a controller that cannot be used.
        """
        version1, version2 = _version1(resources), _version2(resources)
        groups: list[Group] = []
        unified: list[tuple[str, str]] = []
        used: list[str] = []
        for controller in version1.keys() | version2.keys():
            self.require(controller, _WHAT[controller])
        for controller, writes in version1.items():
            folder = self.folders[controller]
            if folder != self.unified:
                groups.append(Group(f"{folder}/{PARENT}/{container_id}", writes))
            else:
                unified += version2[controller]
                used.append(controller)
        if used:
            groups.append(Group(f"{self.unified}/{PARENT}/{container_id}", unified, used))
        return groups


_WHAT = {"memory": "memory", "pids": "the number of processes", "cpu": "processor time", "cpuset": "processors", "devices": "devices"}


def _note(name: str, folder: str, version: str, folders: dict[str, str], reasons: dict[str, str]) -> None:
    where = f"{folder}/{PARENT}"
    if os.access(where if os.path.isdir(where) else folder, os.W_OK):
        folders[name] = folder
    else:
        reasons[name] = f"{folder} ({version}) is not writable for this user"


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


# --- from the runtime spec to files ----------------------------------------------------------------------------------------


def _version1(resources: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    table = {
        "memory": [
            ("memory.limit_in_bytes", memory.get("limit")),
            ("memory.memsw.limit_in_bytes", memory.get("swap")),
            ("memory.soft_limit_in_bytes", memory.get("reservation")),
        ],
        "pids": [("pids.max", _or_max(resources.get("pids", {}).get("limit")))],
        "cpu": [
            ("cpu.cfs_period_us", cpu.get("period")),
            ("cpu.cfs_quota_us", cpu.get("quota")),
            ("cpu.shares", cpu.get("shares")),
        ],
        "cpuset": _cpuset(cpu),
        "devices": _device_rules(resources.get("devices", [])),
    }
    return _given(table)


def _version2(resources: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    limit, swap = memory.get("limit"), memory.get("swap")
    table: dict[str, list[tuple[str, Any]]] = {
        "memory": [
            ("memory.max", limit),
            # Version 2 counts swap by itself, the spec counts memory and swap together.
            ("memory.swap.max", None if swap is None else "max" if swap == -1 else swap - limit),
            ("memory.low", memory.get("reservation")),
            ("memory.oom.group", None if limit is None else 1),
        ],
        "pids": [("pids.max", _or_max(resources.get("pids", {}).get("limit")))],
        "cpu": [("cpu.max", _cpu_max(cpu)), ("cpu.weight", _weight(cpu.get("shares")))],
        "cpuset": _cpuset(cpu),
    }
    return _given(table)


def _given(table: Mapping[str, Sequence[tuple[str, Any]]]) -> dict[str, list[tuple[str, str]]]:
    chosen = {}
    for controller, writes in table.items():
        values = [(file, str(value)) for file, value in writes if value is not None]
        if values:
            chosen[controller] = values
    return chosen


def _or_max(limit: int | None) -> str | None:
    return None if limit is None else "max" if limit == -1 else str(limit)


def _cpu_max(cpu: Mapping[str, Any]) -> str | None:
    return f"{cpu['quota']} {cpu.get('period', 100000)}" if "quota" in cpu else None


def _weight(shares: int | None) -> int | None:
    """Version 1's 2..262144 to version 2's 1..10000, both ends and the defaults (1024 and 100, nearly) meeting."""
    return None if shares is None else 1 + (shares - 2) * 9999 // 262142


def _cpuset(cpu: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if "cpus" not in cpu and "mems" not in cpu:
        return []
    # Version 1 refuses a process until both are set; the empty value is replaced by the parent's in `make`.
    return [("cpuset.cpus", cpu.get("cpus", "")), ("cpuset.mems", cpu.get("mems", ""))]


def _device_rules(rules: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [
        (
            "devices.allow" if rule["allow"] else "devices.deny",
            f"{rule.get('type', 'a')} {rule.get('major', '*')}:{rule.get('minor', '*')} {rule.get('access', 'rwm')}",
        )
        for rule in rules
    ]


# --- making and removing ---------------------------------------------------------------------------------------------------


def make(group: Group) -> int:
    """Makes the group and returns a descriptor of its directory.

    Raises PermissionDenied or FailedPrecondition naming the file that the kernel refused; the group is removed again then.
    """
    parent = os.path.dirname(group.path)
    try:
        _make_parent(parent, group)
        os.mkdir(group.path, 0o755)
    except OSError as error:
        raise PermissionDenied(f"cannot make cgroup {group.path}: {error.strerror}") from error
    try:
        for file, value in group.writes:
            if not _is_met_without_swap(group.path, file):
                _write(f"{group.path}/{file}", value or _inherited(f"{parent}/{file}"))
    except FailedPrecondition:
        os.rmdir(group.path)
        raise
    return os.open(group.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_met_without_swap(path: str, file: str) -> bool:
    """Tells whether a limit of swap needs no file: the kernel does not count swap, and there is none."""
    if file not in ("memory.swap.max", "memory.memsw.limit_in_bytes") or os.path.exists(f"{path}/{file}"):
        return False
    try:
        return len(_inherited("/proc/swaps").splitlines()) < 2
    except FileNotFoundError:  # a kernel without swap
        return True


def _make_parent(parent: str, group: Group) -> None:
    try:
        os.mkdir(parent, 0o755)
    except FileExistsError:
        if not group.controllers:
            return
    for file, _ in group.writes:
        if file.startswith("cpuset.") and not group.controllers:
            _write(f"{parent}/{file}", _inherited(f"{os.path.dirname(parent)}/{file}"))
    for folder in (os.path.dirname(parent), parent):
        missing = [name for name in group.controllers if name not in _words(f"{folder}/cgroup.subtree_control")]
        if missing:
            _write(f"{folder}/cgroup.subtree_control", " ".join("+" + name for name in missing))


def _inherited(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def _write(path: str, value: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FailedPrecondition(f"cannot set {path} to {value}: {error.strerror}") from error


def remove(path: str) -> bool:
    """Removes an empty group; returns False when processes are left in it. A missing one is removed already."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def members(path: str) -> list[int]:
    """Returns the ids of the processes in a group."""
    return [int(word) for word in _words(f"{path}/cgroup.procs")]
