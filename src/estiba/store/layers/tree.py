"""What a layer's tree looks like after each entry: names resolved, duplicates settled, whiteouts told from files.

The helper carries out flat records and follows no symbolic link; all that makes a path mean something else is decided here, on names alone.
The last entry of a name wins; a whiteout acts on lower layers only, so an entry wins beside its own whiteout
(image-spec layer.md, "Whiteouts").
"""

from __future__ import annotations

from estiba.store.layers import tar
from estiba.store.layers.pax import Malformed, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Actions(Protocol):
        """Who carries out what the tree decides."""

        def make_directory(self, path: bytes) -> object: ...
        def erase(self, path: bytes, *, is_directory: bool) -> object: ...
        def keep(self, path: bytes, member: int) -> object: ...


#: What a name is, in the low three bits of `Tree.entries`; the rest is the number of the member that holds its content.
DIRECTORY, FILE, SYMLINK, FIFO, DEVICE, WHITEOUT = range(1, 7)
#: What else `Tree.enter` answers: a directory that is there, a hard link, nothing to make.
SAME_DIRECTORY, LINK, NOTHING = range(7, 10)

WHITEOUT_PREFIX = b".wh."
OPAQUE_NAME = b".wh..wh..opq"

_MAX_PATH = 4095  # PATH_MAX with its NUL
_MAX_LINKS = 40  # path_resolution(7)
#: Directories that other entries may replace: each costs a walk over all names.
_MAX_REPLACED = 100


class Tree:
    """The names of one layer.

    `entries` maps resolved paths (no leading slash, no symbolic link on the way) to `member << 3 | kind`; `targets` symbolic links to
    theirs; `opaque` holds the directories that hide those of lower layers; `implied` those that no member names. `link_target` is the
    resolved target of the hard link entered last.
    """

    __slots__ = ("_actions", "_folders", "_replaced", "entries", "implied", "link_target", "opaque", "targets")

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self.entries: dict[bytes, int] = {b"": DIRECTORY}
        self.targets: dict[bytes, bytes] = {}  # of symbolic links
        self.opaque: set[bytes] = set()
        self.implied: set[bytes] = set()
        self.link_target = b""
        self._folders: dict[bytes, bytes] = {b"": b""}  # as named -> resolved
        self._replaced = 0

    def enter(self, entry: tar.Entry, member: int) -> tuple[bytes, int]:
        """Enters a member, the `member`-th of the archive: its resolved path and what is to be made there.

        Raises Malformed for members that mean nothing safe.
        """
        parent, last = self.locate(entry.name)
        if last.startswith(WHITEOUT_PREFIX):
            return self._whiteout(parent, last)
        path = parent + b"/" + last if parent else last
        kind = entry.kind
        if kind == tar.FILE:
            if not last:
                raise Malformed("a file without a name")
            self.place(path, FILE, member if entry.size else 0)
            return path, FILE
        if kind == tar.DIRECTORY:
            path = path if last else parent
            return path, DIRECTORY if self.place(path, DIRECTORY) else SAME_DIRECTORY
        if kind == tar.SYMLINK:
            if not entry.link or len(entry.link) > _MAX_PATH:
                raise Malformed(f"a symbolic link to {len(entry.link)} bytes")
            self.place(path, SYMLINK)
            self.targets[path] = entry.link
            return path, SYMLINK
        if kind == tar.HARD_LINK:
            return self._hard_link(path, entry.link)
        made = FIFO if kind == tar.FIFO else DEVICE
        self.place(path, made)
        return path, made

    def _whiteout(self, parent: bytes, last: bytes) -> tuple[bytes, int]:
        if last == OPAQUE_NAME:
            self.opaque.add(parent)
            return parent, NOTHING
        name = last[len(WHITEOUT_PREFIX) :]
        if name.startswith(WHITEOUT_PREFIX):  # .wh..wh.plnk and its like: the bookkeeping of AUFS, which Docker skips too
            return join(parent, last), NOTHING
        if name in (b"", b".", b".."):
            raise Malformed("a whiteout of nothing")
        path = join(parent, name)
        return path, WHITEOUT if self.place(path, WHITEOUT) else NOTHING

    def _hard_link(self, path: bytes, link: bytes) -> tuple[bytes, int]:
        target = self.find(link)
        kind = self.entries[target] & 7
        if kind in (DIRECTORY, WHITEOUT):
            raise Malformed(f"hard link to {show(link)}, which is not a file")
        if target == path:
            raise Malformed("hard link to itself")
        self.place(path, kind)
        if target not in self.entries:
            raise Malformed(f"hard link to {show(link)}, which it replaces")
        if kind == SYMLINK:
            self.targets[path] = self.targets[target]
        self.link_target = target
        return path, DEVICE if kind == DEVICE else LINK

    def locate(self, name: bytes) -> tuple[bytes, bytes]:
        """The resolved parent of a member's name, made when it is not there, and the last component (empty for the root).

        Raises Malformed for names that leave the tree, pass through a file, or are too long.
        """
        named, _, last = name.rpartition(b"/")
        plain = len(name) <= 255 and last not in (b"", b".", b"..") and b"\0" not in last
        resolved = self._folders.get(named) if plain else None
        if resolved is None:
            parent, _, last = clean(name).rpartition(b"/")
            resolved = self._folders.get(parent)
            if resolved is None:
                resolved = self._folders[parent] = self._resolve(parent, make=True)
            if plain:
                self._folders[named] = resolved
        return resolved, last

    def find(self, name: bytes) -> bytes:
        """The resolved path of an entry that is there, for the target of a hard link. Raises Malformed when it is not."""
        parent, _, last = clean(name).rpartition(b"/")
        path = join(self._resolve(parent, make=False), last)
        if path not in self.entries:
            raise Malformed(f"hard link to {show(name)}, which no earlier entry made")
        return path

    def place(self, path: bytes, kind: int, member: int = 0) -> bool:
        """Enters an entry, after what was there before is out of the way. False when nothing is to be made: the root, a directory
        that is there, a whiteout beside an entry.
        """
        old = self.entries.get(path)
        if old is not None:
            old_kind = old & 7
            if kind == WHITEOUT:
                if old_kind == DIRECTORY:
                    self.opaque.add(path)
                return False
            if kind == DIRECTORY and old_kind == DIRECTORY:
                self.implied.discard(path)
                return False
            if not path:
                raise Malformed("the root is not a directory")
            self._remove(path, old)
            if kind == DIRECTORY and old_kind == WHITEOUT:
                self.opaque.add(path)
        self.entries[path] = member << 3 | kind
        return True

    def _remove(self, path: bytes, old: int) -> None:
        kind = old & 7
        if kind == DIRECTORY:
            self._remove_below(path)
        if kind == SYMLINK:
            del self.targets[path]
        if kind in (DIRECTORY, SYMLINK):
            self._folders = {b"": b""}
        if kind == FILE and old >> 3:
            self._actions.keep(path, old >> 3)
        elif kind != DEVICE:
            self._actions.erase(path, is_directory=kind == DIRECTORY)
        self.opaque.discard(path)
        self.implied.discard(path)
        del self.entries[path]

    def _remove_below(self, path: bytes) -> None:
        self._replaced += 1
        if self._replaced > _MAX_REPLACED:
            raise Malformed(f"more than {_MAX_REPLACED} directories that other entries replace")
        prefix = path + b"/"
        for below in sorted((p for p in self.entries if p.startswith(prefix)), reverse=True):
            # Children sort after their parents, so nothing that is removed here has anything below it any more.
            old = self.entries[below]
            if old & 7 == DIRECTORY:
                self._actions.erase(below, is_directory=True)
                self.opaque.discard(below)
                self.implied.discard(below)
                del self.entries[below]
            else:
                self._remove(below, old)

    def _resolve(self, named: bytes, *, make: bool) -> bytes:
        """A folder's path without symbolic links, as the container would see it: `..` in a link's target ends at the root."""
        pending = named.split(b"/")[::-1] if named else []
        at = b""
        links = 0
        while pending:
            component = pending.pop()
            if component in (b"", b"."):
                continue
            if component == b"..":
                at = at.rpartition(b"/")[0]
                continue
            path = join(at, component)
            kind = self.entries.get(path, 0) & 7
            if kind == SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    raise Malformed(f"too many symbolic links on the way to {show(named)}")
                target = self.targets[path]
                if target.startswith(b"/"):
                    at = b""
                pending.extend(target.split(b"/")[::-1])
                continue
            if kind in (0, WHITEOUT) and make:
                if component.startswith(WHITEOUT_PREFIX):
                    raise Malformed(f"{show(path)} is a whiteout, not a directory")
                _check_component(component, path)
                if self.place(path, DIRECTORY):
                    self.implied.add(path)
                    self._actions.make_directory(path)
            elif kind != DIRECTORY:
                raise Malformed(f"{show(path)} is not a directory")
            at = path
        return at


def clean(name: bytes) -> bytes:
    """A member's name as a relative path: leading slashes and `.` go, `..` and NUL are refused."""
    if len(name) > _MAX_PATH:
        raise Malformed(f"a name of {len(name)} bytes, the limit is {_MAX_PATH}")
    if name[:2] == b"./":
        name = name[2:]
    if name[-1:] == b"/":
        name = name[:-1]
    if b"/." in name or b"//" in name or name[:1] in (b".", b"/"):
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise Malformed("a name with '..'")
        name = b"/".join(parts)
    if b"\0" in name:
        raise Malformed("a name with NUL")
    if len(name) > 255:
        for part in name.split(b"/"):
            _check_component(part, name)
    return name


def _check_component(part: bytes, path: bytes) -> None:
    if len(part) > 255:
        raise Malformed(f"a name of {len(part)} bytes in {show(path)}, the limit is 255")


def join(parent: bytes, name: bytes) -> bytes:
    """`parent/name`, where the root is empty."""
    return parent + b"/" + name if parent and name else parent or name
