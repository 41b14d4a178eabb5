"""What a container has changed, from its upper layer (Documentation/filesystems/overlayfs.rst).

The work is as much as there are changes. A folder is there too when only something in it changed, so folders are compared with the
layers below. What the engine itself made as places for mounts is no change of the container's.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator

from estiba.engine.files.entries import OPAQUE, kept
from estiba.engine.files.jail import BELOW, ROOT, UPPER, FileJail, JailError, Listing, Status, cause_of, too_many
from estiba.engine.files.walk import Item
from estiba.plan import ops

ADDED, CHANGED, DELETED = "A", "C", "D"
#: Where every container has something mounted: kernel file systems, and the engine's own files.
_FOLDERS = frozenset((b"proc", b"sys", b"dev"))
_FILES = frozenset((b"etc/hosts", b"etc/hostname", b"etc/resolv.conf"))
_BATCH_BYTES = 1 << 15


class Change(Item):
    """One path of the upper layer and its `kind`. `opaque` is a folder that hides those of the layers.

    Whether a folder counts may depend on what is in it: `counts` says that it does, `parent` is the folder that it is in.
    """

    __slots__ = ("counts", "kind", "opaque", "parent")

    def __init__(self, kind: str, path: bytes, status: Status, parent: Change | None, xattrs: dict[bytes, bytes] | None = None) -> None:
        super().__init__(path, path, status, xattrs)
        self.kind = kind
        self.parent = parent
        self.opaque = False
        self.counts = True


class Changes:
    """Reads the changes. `hidden` is whether the names that an opaque folder hides are wanted."""

    def __init__(self, jail: FileJail, *, hidden: bool) -> None:
        self._jail = jail
        self._hidden = hidden
        self._found: list[Change] = []
        self._folders: list[tuple[Change, Status | None]] = []  # that are still to be looked into, and what the layers have there
        self._count = 0

    def all(self) -> list[Change]:
        """Every change, in the order of paths. Raises ResourceExhausted, Conflict."""
        self._look_into(b"", self._jail.list(b"", UPPER), None, lower=True)
        while self._folders:
            self._folder(*self._folders.pop())
        for change in reversed(self._found):  # what is in a folder comes behind it
            if change.counts and change.parent is not None:
                change.parent.counts = True
        return sorted((change for change in self._found if change.counts), key=lambda change: change.path)

    def _look_into(self, folder: bytes, listing: Listing, parent: Change | None, *, lower: bool) -> None:
        """Enters the changes in a folder; `lower` says whether the layers have it too and it does not hide them."""
        inside = [(folder + b"/" + name if folder else name, status) for name, status in listing.entries]
        self._count += len(inside)
        if self._count > self._jail.max_entries:
            raise too_many(self._jail.what, self._jail.max_entries)
        below = self._below([path for path, _ in inside]) if lower else {}
        for path, status in inside:
            old = below.get(path)
            if status.is_folder:
                self._folders.append((Change(ADDED if old is None else CHANGED, path, status, parent), old))
            elif status.is_whiteout:
                if old is not None:
                    self._found.append(Change(DELETED, path, status, parent))
            elif old is not None or not _is_mount_place(path, status):
                self._found.append(Change(ADDED if old is None else CHANGED, path, status, parent))

    def _folder(self, change: Change, old: Status | None) -> None:
        path = change.path
        try:
            new = self._jail.list(path, UPPER)
        except JailError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return  # a running container has just removed it
            raise cause_of(self._jail.what, error.errno or 0, path[-200:]) from None
        self._found.append(change)
        change.status, change.xattrs = new.status, new.xattrs
        merged = old is not None and old.is_folder
        change.opaque = merged and new.xattrs.get(OPAQUE) == b"y"
        if old is None:
            change.counts = not (_is_mount_place(path, new.status) or _holds_places(path, new))
        else:
            change.counts = change.opaque or not merged or self._is_changed(path, old, new)
        self._look_into(path, new, change, lower=merged and not change.opaque)
        if change.opaque and self._hidden:
            self._found += self._hidden_by(path, new)

    def _hidden_by(self, path: bytes, new: Listing) -> Iterator[Change]:
        names = {name for name, _ in new.entries}
        for name, status in self._jail.list(path, ROOT).entries:
            if name not in names:
                yield Change(DELETED, path + b"/" + name, status, None)

    def _is_changed(self, path: bytes, old: Status, new: Listing) -> bool:
        """Whether a folder itself differs from that of the layers."""
        status = new.status
        if (status.mode, status.uid, status.gid) != (old.mode, old.uid, old.gid):
            return True
        if (status.mtime, status.nanoseconds) == (old.mtime, old.nanoseconds):
            return (kept(new.xattrs) or {}) != (kept(self._jail.list(path, ROOT).xattrs) or {})
        return not _holds_places(path, new)

    def _below(self, paths: list[bytes]) -> dict[bytes, Status]:
        """What the layers have at these paths; asked for as many at once as fit into a pipe."""
        found: dict[bytes, Status] = {}
        start = 0
        while start < len(paths):
            end, size = start, 0
            while end < len(paths) and (end == start or size + len(paths[end]) + 32 <= _BATCH_BYTES):
                size += len(paths[end]) + 32
                end += 1
            self._jail.ask(*(ops.files_stat(ROOT, path, BELOW) for path in paths[start:end]))
            for path in paths[start:end]:
                try:
                    found[path] = self._jail.stat_answer(path)
                except JailError:
                    continue  # not there
            start = end
        return found


def _is_mount_place(path: bytes, status: Status) -> bool:
    """Whether the engine made it for a mount: an empty file or folder of root at a path where every container has one."""
    if status.uid or status.gid:
        return False
    if status.is_folder:
        return path in _FOLDERS and stat.S_IMODE(status.mode) == 0o755
    return status.is_file and path in _FILES and not status.size


def _holds_places(path: bytes, folder: Listing) -> bool:
    """Whether a folder holds such places and nothing else."""
    inside = [(path + b"/" + name if path else name, status) for name, status in folder.entries]
    return bool(inside) and all(_is_mount_place(each, status) for each, status in inside)
