"""Whose files a layer holds: which owners can be on disk, and what becomes of the others."""

from __future__ import annotations

from estiba.errors import FailedPrecondition
from estiba.linux.idmap import IdMaps
from estiba.store.layers.pax import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Owners:
    """The owners that the jail's user namespace has room for. With a single id every owner becomes 0:0 (`squashed`).

    `highest` is what `layer.json` keeps, so that a run can refuse a container whose map is smaller: kind -> (id, path).
    """

    def __init__(self, maps: IdMaps, what: str) -> None:
        self.squashed = maps.kind == "single"
        self.highest: dict[str, tuple[int, bytes]] = {}
        self._what = what
        self._uids = _ranges(maps.uid_map)
        self._gids = _ranges(maps.gid_map)
        self._known: set[tuple[int, int]] = set()

    def of(self, uid: int, gid: int, path: bytes) -> tuple[int, int]:
        """The owner to write for an entry. Raises FailedPrecondition, naming file and id, where there is no such id here."""
        if (uid, gid) not in self._known:
            for kind, number, ranges in (("uid", uid, self._uids), ("gid", gid, self._gids)):
                if not self.squashed and not any(first <= number < end for first, end in ranges):
                    raise FailedPrecondition(
                        f"cannot {self._what}: entry {show(path)} belongs to {kind} {number}, which this user's ids do not include",
                        hint="give the user more subordinate ids (subuid(5)), or unpack as root" if ranges[0][1] < 1 << 31 else None,
                    )
                if number >= self.highest.get(kind, (0, b""))[0]:
                    self.highest[kind] = (number, path)
            self._known.add((uid, gid))
        return (0, 0) if self.squashed else (uid, gid)


def _ranges(lines: Iterable[str]) -> list[tuple[int, int]]:
    found = []
    for line in lines:
        inside, _outside, count = line.split()
        found.append((int(inside), int(inside) + int(count)))
    return found
