"""What is in sight when layers lie on each other, and what they hide: overlayfs's rules on the names of the layers' tars.

The tars are read (rebuilt by the store) rather than the unpacked trees, so that files count that only another id may read, and
devices that were recorded and not made.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from estiba.oci.digest import DiffID
from estiba.store.layers import open_tar, tar
from estiba.store.layers.tree import DIRECTORY, LINK, WHITEOUT, Tree
from estiba.store.layout import Store


@dataclass(frozen=True)
class Hidden:
    """One file that cannot be seen in the stack.

    `path` in the root directory; `of`, the image whose file it is; `by`, the image that hides it; `kind`: `replaced` by another
    file, `removed` by a whiteout, or `covered` because a folder above it became something else.
    """

    path: str
    by: str
    of: str
    kind: str


@dataclass(frozen=True)
class Entry:
    """One path of a layer. `kind` is `directory`, `opaque` (a directory that hides those below it), `whiteout` or `file` (anything
    else); equal `identity` means equal content, mode, owner and attributes.
    """

    path: str
    kind: str
    identity: bytes = b""


class _Nobody:
    """Nothing is carried out: the tree is only looked at."""

    def make_directory(self, path: bytes) -> None: ...

    def erase(self, path: bytes, *, is_directory: bool) -> None: ...

    def keep(self, path: bytes, member: int) -> None: ...


def new_tree() -> Tree:
    """An empty tree on which nothing is carried out."""
    return Tree(_Nobody())


def read_layer(store: Store, diff_id: DiffID) -> Iterator[Entry]:
    """The paths of a layer, sorted. Raises NotFound, DataLoss."""
    chunks = open_tar(store, diff_id)
    reader = tar.TarReader(lambda: next(chunks, b""), what=f"layer {diff_id[:19]}")
    tree = new_tree()
    identities: dict[bytes, bytes] = {}
    for number, entry in enumerate(reader, 1):
        path, kind = tree.enter(entry, number)
        if kind == LINK:
            identities[path] = identities[tree.link_target]
            continue
        hasher = hashlib.sha256(repr((kind, entry.mode, entry.uid, entry.gid, entry.link, entry.parts, entry.xattrs)).encode())
        for chunk in reader.chunks():
            hasher.update(chunk)
        identities[path] = hasher.digest()
    yield from entries_of(tree, identities)


def entries_of(tree: Tree, identities: Mapping[bytes, bytes]) -> Iterator[Entry]:
    """The paths of a tree that was read to its end, sorted."""
    for path in sorted(tree.entries):
        kind = tree.entries[path] & 7
        name = "/" + os.fsdecode(path) if path else ""
        if kind == DIRECTORY:
            yield Entry(name, "opaque" if path in tree.opaque else "directory")
        else:
            yield Entry(name, "whiteout" if kind == WHITEOUT else "file", identities.get(path, b""))


@dataclass(frozen=True)
class _Seen:
    """A path in sight, and whose it is."""

    image: int
    kind: str
    identity: bytes


class View:
    """The paths in sight while layer after layer is put on a stack of images; `hidden` is what the images took from each other.

    Parameter: `names` of the images, lowest first.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._children: dict[str, set[str]] = {}
        self._seen: dict[str, _Seen] = {}
        self.hidden: list[Hidden] = []

    @property
    def paths(self) -> list[str]:
        """What is in sight, directories included."""
        return sorted(self._seen)

    def image_of(self, path: str) -> int | None:
        """The number of the image whose file or directory is in sight at `path`."""
        seen = self._seen.get(path)
        return seen.image if seen else None

    def add_layer(self, image: int, entries: Iterator[Entry]) -> None:
        """Puts a layer of the image with this number on the stack."""
        for entry in entries:
            before = self._seen.get(entry.path)
            if entry.kind == "whiteout":
                self._take_away(entry.path, image, "removed")
                continue
            if entry.kind == "opaque":
                self._take_below(entry.path, image, "removed")
            if before and before.kind != entry.kind:
                self._take_below(entry.path, image, "covered")
            if before and before.kind == "file" and (entry.kind, entry.identity) != ("file", before.identity):
                self._hide(entry.path, before, image, "replaced")
            self._put(entry, image)

    def _put(self, entry: Entry, image: int) -> None:
        folder, _, name = entry.path.rpartition("/")
        if entry.path:
            self._children.setdefault(folder, set()).add(name)
        kind = "file" if entry.kind == "file" else "directory"
        self._seen[entry.path] = _Seen(image, kind, entry.identity)

    def _take_below(self, path: str, image: int, kind: str) -> None:
        for child in list(self._children.get(path, ())):
            self._take_away(f"{path}/{child}", image, kind)

    def _take_away(self, path: str, image: int, kind: str) -> None:
        self._take_below(path, image, kind)
        self._children.pop(path, None)
        before = self._seen.pop(path, None)
        folder, _, name = path.rpartition("/")
        self._children.get(folder, set()).discard(name)
        if before and before.kind == "file":
            self._hide(path, before, image, kind)

    def _hide(self, path: str, before: _Seen, image: int, kind: str) -> None:
        if before.image != image:
            self.hidden.append(Hidden(path, self._names[image], self._names[before.image], kind))
