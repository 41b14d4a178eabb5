"""Identifier maps of user namespaces: who is who inside, outside and on disk.

Three kinds of maps (user_namespaces(7)):

root-range   The caller is root and owns all ids. Layers hold plain ids; each container gets a range of 65,536 host ids of its
             own, and idmapped mounts translate, so that id n inside is id n on disk.
subordinate  The caller is an ordinary user with ranges in /etc/subuid and /etc/subgid (subuid(5)), or root in a container of
             another engine, without room for a range per container or without CAP_SYS_ADMIN. All containers share the ids, and
             layers are stored in them.
single       The caller has one id and no more. Files of every other owner appear as root's.

This module is on the start path of ``run``: it imports os and the error tree only.
"""

from __future__ import annotations

import os

from estiba.errors import FailedPrecondition, ResourceExhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from estiba.config.settings import Settings

    Kind = Literal["root-range", "subordinate", "single"]

RANGE_SIZE = 65536
# Every id but (uid_t)-1, which is "no id" (setreuid(2)).
ALL_IDS = 4294967295
# The kernel takes 340 lines (user_namespaces(7), since Linux 4.15).
_MAX_LINES = 340
_CAP_SYS_ADMIN = 21
_MAP_TOOL_FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin")

Extent = tuple[int, int, int]


class IdMaps:
    """Maps for one user namespace.

    `uid_map` and `gid_map` are lines ``inside outside count``; `newuidmap` and `newgidmap` are the programs of that name
    (newuidmap(1)) that must write them, or empty where the helper may do so itself; `setgroups` 0 means that
    /proc/PID/setgroups must be ``deny`` before the gid map is written.
    """

    __slots__ = ("gid_map", "kind", "newgidmap", "newuidmap", "setgroups", "uid_map")

    def __init__(
        self,
        kind: Kind,
        uid_map: Iterable[Extent],
        gid_map: Iterable[Extent],
        *,
        newuidmap: str = "",
        newgidmap: str = "",
        setgroups: int = 1,
    ) -> None:
        self.kind = kind
        self.uid_map = _lines(uid_map)
        self.gid_map = _lines(gid_map)
        self.newuidmap = newuidmap
        self.newgidmap = newgidmap
        self.setgroups = setgroups


def layer_maps(settings: Settings) -> IdMaps:
    """Returns the maps in which layers are unpacked; the ids on disk are those on the outer side.

    Raises FailedPrecondition when /etc/subuid or /etc/subgid has a malformed line for the caller.
    """
    own_uids = read_map("/proc/self/uid_map")
    own_gids = read_map("/proc/self/gid_map")
    if settings.uid == 0:
        kind: Kind = "root-range" if owns_all_ids(own_uids, own_gids) and may_administer() else "subordinate"
        return IdMaps(kind, _identity(own_uids), _identity(own_gids))
    return _ordinary_user_maps(settings.uid, own_uids, own_gids)


def container_maps(settings: Settings, base: int | None) -> IdMaps:
    """Returns the maps of one container.

    `base` is the first host id of the container's own range (`Ranges.take`); it is used only where `needs_range` is true.
    """
    maps = layer_maps(settings)
    return maps if maps.kind != "root-range" or base is None else range_maps(base)


def range_maps(base: int) -> IdMaps:
    """Returns the maps of a container that has the range from `base` on to itself."""
    extent = ((0, base, RANGE_SIZE),)
    return IdMaps("root-range", extent, extent)


def needs_range(settings: Settings) -> bool:
    """Tells whether containers of this caller get an id range each (root with all ids)."""
    if settings.uid != 0 or not may_administer():
        return False
    return owns_all_ids(read_map("/proc/self/uid_map"), read_map("/proc/self/gid_map"))


def may_administer() -> bool:
    """Tells whether this process holds CAP_SYS_ADMIN, which idmapped mounts need: root in a container of another engine has not."""
    with open("/proc/self/status", "rb") as file:
        _, _, rest = file.read().partition(b"CapEff:")
    return bool(int(rest.split(None, 1)[0], 16) >> _CAP_SYS_ADMIN & 1)


def owns_all_ids(uids: Iterable[Extent], gids: Iterable[Extent]) -> bool:
    """Tells whether both maps are those of the initial user namespace."""
    everything = ((0, 0, ALL_IDS),)
    return tuple(uids) == everything and tuple(gids) == everything


def read_map(path: str) -> tuple[Extent, ...]:
    """Reads a /proc/PID/uid_map or gid_map (user_namespaces(7))."""
    with open(path, "rb") as file:
        rows = [line.split() for line in file]
    return tuple((int(inside), int(outside), int(count)) for inside, outside, count in rows)


def _identity(extents: Iterable[Extent]) -> list[Extent]:
    return [(inside, inside, count) for inside, _outside, count in extents]


def _lines(extents: Iterable[Extent]) -> tuple[str, ...]:
    return tuple(f"{inside} {outside} {count}" for inside, outside, count in extents)


# --- subordinate ids -------------------------------------------------------------------------------------------------


def _ordinary_user_maps(uid: int, own_uids: tuple[Extent, ...], own_gids: tuple[Extent, ...]) -> IdMaps:
    gid = os.getgid()
    newuidmap, newgidmap = map_tool("newuidmap"), map_tool("newgidmap")
    if newuidmap and newgidmap:
        uids = _usable(subordinate_ranges("/etc/subuid", uid), own_uids)
        gids = _usable(subordinate_ranges("/etc/subgid", uid), own_gids)
        if uids and gids:
            return IdMaps(
                "subordinate",
                _stack(uid, uids, "/etc/subuid"),
                _stack(gid, gids, "/etc/subgid"),
                newuidmap=newuidmap,
                newgidmap=newgidmap,
            )
    return IdMaps("single", ((0, uid, 1),), ((0, gid, 1),), setgroups=0)


def map_tool(name: str) -> str:
    """Returns the path of newuidmap or newgidmap, or an empty string. The caller's PATH is not asked: the program is set-uid."""
    for folder in _MAP_TOOL_FOLDERS:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    return ""


def subordinate_ranges(path: str, uid: int) -> list[tuple[int, int]]:
    """Returns the (start, count) pairs that `path` (subuid(5) or subgid(5)) gives to user `uid`, by name or by number.

    Lines of other users are not judged. Raises FailedPrecondition for a malformed line of this user.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return []
    owners = {str(uid).encode()}
    name = _user_name(uid)
    if name:
        owners.add(name.encode())
    return parse_subordinate(content, owners, path)


def parse_subordinate(content: bytes, owners: set[bytes], path: str) -> list[tuple[int, int]]:
    """Parses the content of subuid(5): lines ``owner:start:count``. See `subordinate_ranges`."""
    ranges = []
    for number, line in enumerate(content.split(b"\n"), 1):
        fields = line.strip().split(b":")
        if fields[0] not in owners:
            continue
        ranges.append(_subordinate_range(fields, f"{path} line {number}"))
    return ranges


def _subordinate_range(fields: list[bytes], where: str) -> tuple[int, int]:
    if len(fields) != 3 or not all(_is_number(field) for field in fields[1:]):
        raise FailedPrecondition(f"cannot read {where}: not of the form owner:start:count", hint="see subuid(5)")
    start, count = int(fields[1]), int(fields[2])
    if count == 0 or start == 0 or start + count > ALL_IDS:
        raise FailedPrecondition(f"cannot use {where}: the range {start}+{count} is empty, holds root or ends beyond the last id")
    return start, count


def _is_number(field: bytes) -> bool:
    # bytes.isdigit is ASCII only, unlike str.isdigit (hardening P8).
    return field.isdigit() and len(field) <= 10


def _user_name(uid: int) -> str:
    import pwd  # asks NSS, so only ordinary users pay for it

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _usable(ranges: list[tuple[int, int]], own: tuple[Extent, ...]) -> list[tuple[int, int]]:
    """Keeps the ranges that this process's own user namespace has: inside a container /etc/subuid may promise more."""
    return [(start, count) for start, count in ranges if any(first <= start and start + count <= first + size for first, _, size in own)]


def _stack(own_id: int, ranges: list[tuple[int, int]], path: str) -> list[Extent]:
    """Maps the caller's own id to 0 and the ranges one behind the other from 1 on."""
    extents = [(0, own_id, 1)]
    inside = 1
    for start, count in ranges[: _MAX_LINES - 1]:
        if start <= own_id < start + count:
            raise FailedPrecondition(f"cannot use {path}: the range {start}+{count} holds the user's own id {own_id}")
        extents.append((inside, start, count))
        inside += count
    return extents


# --- one range per container -------------------------------------------------------------------------------------------


class Ranges:
    """The ids that root hands out, one range of 65,536 for each running container.

    A range is taken by making the symbolic link ``<folder>/<slot>`` whose text is the container's id: symlink(2) makes name
    and content in one step and fails when the name is there, so two processes never get the same range and a reader never
    sees a record without its owner. The first slot tried comes from the (random) id, so that the cost does not grow with the
    number of containers and a range is seldom given again soon.
    """

    __slots__ = ("count", "folder", "start")

    def __init__(self, folder: str, start: int, count: int) -> None:
        self.folder = folder
        self.start = start
        self.count = count

    def free_slot(self, container_id: str, after: int | None = None) -> int:
        """Returns a slot that looks free, to be recorded before `take`. `after` is a slot that turned out to be taken.

        Raises ResourceExhausted when no slot is free.
        """
        first = int(container_id[:8], 16) if after is None else after + 1
        for step in range(self.count):
            slot = (first + step) % self.count
            if not os.path.lexists(f"{self.folder}/{slot}"):
                return slot
        raise ResourceExhausted(
            f"cannot start container {container_id[:12]}: all {self.count} id ranges are in use",
            hint="stop containers, or configure a larger id_range_count",
        )

    def take(self, slot: int, container_id: str) -> bool:
        """Takes a slot for the container; returns False when another was quicker."""
        try:
            os.symlink(container_id, f"{self.folder}/{slot}")
        except FileExistsError:
            return False
        return True

    def release(self, slot: int, container_id: str) -> None:
        """Gives a slot back, if it is this container's."""
        path = f"{self.folder}/{slot}"
        try:
            if os.readlink(path) == container_id:
                os.unlink(path)
        except FileNotFoundError:
            return

    def base(self, slot: int) -> int:
        """Returns the first host id of a slot."""
        return self.start + slot * RANGE_SIZE
