"""A tree of a container as a source.

Its processes may change it meanwhile: what is gone, or became something else, is told and passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from estiba.engine.files.entries import Source, Tell, kept, kind_of, nothing, set_parts
from estiba.engine.files.jail import ROOT, FileJail, JailError, Status, too_many
from estiba.plan import ops
from estiba.store.layers import tar
from estiba.store.layers.pax import show
from estiba.store.layers.tar import Entry

#: Questions under way: they fit into a pipe, so that neither side waits for the other for ever (pipe(7)).
_QUESTIONS = 200
_QUESTION_BYTES = 1 << 15
_MAX_PATH = 4095


def entry_of(name: bytes, status: Status, xattrs: dict[bytes, bytes] | None) -> Entry | None:
    """An entry without content; None for what cannot be copied."""
    kind = kind_of(status.mode)
    if kind is None:
        return None
    entry = Entry(name, kind, status.mode & 0o7777, status.uid, status.gid, 0, status.mtime, status.target, 0)
    entry.nanoseconds = status.nanoseconds
    entry.xattrs = kept(xattrs) if xattrs else None
    return entry


class Item:
    """One thing to hand out: `path` below the base, `name` in the copy, and its status."""

    __slots__ = ("name", "path", "status", "xattrs")

    def __init__(self, path: bytes, name: bytes, status: Status, xattrs: dict[bytes, bytes] | None = None) -> None:
        self.path = path
        self.name = name
        self.status = status
        self.xattrs = xattrs


class Walk:
    """Hands out items of one tree as a source: files are asked for in batches, further names of a file become hard links."""

    def __init__(self, jail: FileJail, tree: int, tell: Tell) -> None:
        self.jail = jail
        self.tree = tree
        self.tell = tell
        self.names: dict[tuple[int, int], bytes] = {}  # of files with several names
        self.count = 0

    def source(self, path: bytes, name: bytes) -> Source:
        """The tree at `path`, whose top is called `name`. Raises JailError when there is nothing."""
        top = self.jail.stat(path, tree=self.tree)
        if not top.is_folder:
            yield from self.items([Item(path, name, top)])
            return
        folders = [(path, name)]
        while folders:
            path, name = folders.pop()
            try:
                listing = self.jail.list(path, self.tree)
            except JailError as error:
                self._gone(path, error)
                continue
            yield from self.items([Item(path, name, listing.status, listing.xattrs)])
            inside = [Item(_join(path, entry), _join(name, entry), status) for entry, status in listing.entries]
            yield from self.items(item for item in inside if not item.status.is_folder)
            folders += [(item.path, item.name) for item in reversed(inside) if item.status.is_folder and self._fits(item)]

    def items(self, items: Iterable[Item]) -> Source:
        """Entries of items, in their order."""
        batch: list[Item] = []
        size = 0
        for item in items:
            self.count += 1
            if self.count > self.jail.max_entries:
                raise too_many(self.jail.what, self.jail.max_entries)
            if not self._fits(item):
                continue
            batch.append(item)
            size += len(item.path) + 32
            if len(batch) >= _QUESTIONS or size >= _QUESTION_BYTES:
                yield from self._batch(batch)
                batch, size = [], 0
        yield from self._batch(batch)

    def _batch(self, batch: list[Item]) -> Source:
        wanted: list[Item] = []
        further: set[Item] = set()
        asked: set[tuple[int, int]] = set()
        for item in batch:
            key = (item.status.device, item.status.inode)
            if item.status.is_file and item.status.links > 1 and (key in self.names or key in asked):
                further.add(item)
            elif item.status.is_file:
                wanted.append(item)
                asked.add(key)
        self.jail.ask(*(ops.files_read(self.tree, item.path) for item in wanted))
        for item in batch:
            if item in further:
                yield from self._further_name(item)
            elif item.status.is_file:
                yield from self._file(item)
            elif entry := entry_of(item.name, item.status, item.xattrs):
                yield entry, nothing
            else:
                self.tell(f"{show(item.path)} is a device or a socket")

    def _further_name(self, item: Item) -> Source:
        first = self.names.get((item.status.device, item.status.inode))
        entry = entry_of(item.name, item.status, None)
        if first is None or entry is None:
            self.tell(f"{show(item.path)}: its first name is gone")
            return
        entry.kind, entry.link = tar.HARD_LINK, first
        yield entry, nothing

    def _file(self, item: Item) -> Source:
        try:
            content = self.jail.read_answer(item.path)
        except JailError as error:
            self._gone(item.path, error)
            return
        status = content.status
        entry = entry_of(item.name, status, content.xattrs)
        assert entry is not None
        entry.real_size = status.size
        set_parts(entry, content.parts)
        yield entry, self.jail.take
        self.jail.end_of_content(item.path)
        if status.links > 1:
            self.names.setdefault((status.device, status.inode), item.name)

    def _fits(self, item: Item) -> bool:
        if len(item.path) > _MAX_PATH or len(item.name) > _MAX_PATH:
            self.tell(f"{show(item.path, 60)} has a path of {len(item.path)} bytes")
            return False
        return True

    def _gone(self, path: bytes, error: JailError) -> None:
        self.tell(f"{show(path)}: {error.strerror}")


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder and folder != b"." else name


def walk(jail: FileJail, path: bytes, name: bytes, tell: Tell, tree: int = ROOT) -> Source:
    """The tree at `path` below the base as a source; its top is called `name`."""
    return Walk(jail, tree, tell).source(path, name)


def changed(jail: FileJail) -> Iterator[str]:
    """What to say of files that changed while they were read."""
    return (f"{show(path)} changed while it was read" for path in jail.changed)
