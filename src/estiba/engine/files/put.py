"""A container as a sink: entries become records of `estiba-init files-write`. What replaces what is decided there, without asking back."""

from __future__ import annotations

from estiba.engine.files.entries import Source, Tell, kept, stretches
from estiba.engine.files.jail import FileJail
from estiba.errors import Conflict, DataLoss
from estiba.plan import ops
from estiba.plan.encode import encode_op
from estiba.store.layers import records, tar
from estiba.store.layers.pax import Malformed, show
from estiba.store.layers.tar import Entry
from estiba.store.layers.tree import clean

_FOLDER, _LINK, _PIPE, _HARD_LINK = range(4)
_LARGEST = 1 << 20  # content of one record (helper/src/unpack_record.c)
_NAMES = {tar.CHARACTER: "a device", tar.BLOCK: "a device"}


class Put:
    """Copies sources below the jail's base.

    Parameters: `base`, the path of the folder that entries go below; `owners`, whether entries keep theirs: else all belong to root; `tell`
    hears what was left out.
    """

    def __init__(self, jail: FileJail, base: bytes, tell: Tell, *, owners: bool) -> None:
        self._jail = jail
        self._base = base
        self._tell = tell
        self._owners = owners
        self._folders: dict[bytes, Entry | None] = {b"": None}  # that are there, and what describes them in the end
        self._elsewhere: dict[bytes, bytes] = {}  # folder -> where a symbolic link of the container leads
        self._at = base
        jail.base(base)

    def run(self, source: Source) -> None:
        """Copies everything. Raises what the source raises, Conflict and the like for what the container refuses, DataLoss."""
        for entry, take in source:
            try:
                path = clean(entry.name)
            except Malformed as error:
                raise DataLoss(f"cannot {self._jail.what}: {show(entry.name)}: {error}") from None
            parent, _, name = path.rpartition(b"/")
            place = self._go(parent, name)
            if entry.kind == tar.DIRECTORY:
                self._folder(path, place, entry)
            elif entry.kind == tar.FILE:
                self._jail.send(encode_op(ops.files_open(0, place, entry.real_size, *self._owner(entry))))
                for offset, length in stretches(entry):
                    at = offset
                    for piece in take(length):
                        for start in range(0, len(piece), _LARGEST):
                            part = piece[start : start + _LARGEST]
                            self._jail.send(records.data_head(at, len(part)), part)
                            at += len(part)
                self._close(entry)
            else:
                self._other(place, entry)

    def finish(self) -> None:
        """Owners, modes and times of folders, the deepest first, when nothing more is made in them; then waits for the helper."""
        for path in sorted(self._folders, key=len, reverse=True):
            entry = self._folders[path]
            if entry is None:
                continue
            parent, _, name = path.rpartition(b"/")
            self._jail.send(encode_op(ops.files_open(1, self._go(parent, name), 0, *self._owner(entry))))
            self._close(entry)
        self._jail.finish()

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return (entry.uid, entry.gid) if self._owners else (0, 0)

    def _close(self, entry: Entry) -> None:
        for name, value in (kept(entry.xattrs) or {}).items() if entry.xattrs else ():
            self._jail.send(encode_op(ops.files_xattr(name, value)))
        self._jail.send(encode_op(ops.files_close(entry.mode, entry.mtime, entry.nanoseconds)))

    def _make(self, kind: int, place: bytes, entry: Entry, target: bytes = b"") -> None:
        uid, gid = self._owner(entry)
        self._jail.send(encode_op(ops.files_make(kind, place, target, uid, gid, entry.mode, entry.mtime, entry.nanoseconds)))

    def _folder(self, path: bytes, place: bytes, entry: Entry) -> None:
        if not path:
            return  # the folder that is copied to stays as it is, as in Docker
        self._make(_FOLDER, place, entry)
        self._folders[path] = entry

    def _other(self, place: bytes, entry: Entry) -> None:
        if entry.kind == tar.SYMLINK:
            self._make(_LINK, place, entry, entry.link)
        elif entry.kind == tar.FIFO:
            self._make(_PIPE, place, entry)
        elif entry.kind == tar.HARD_LINK:
            parent, _, name = clean(entry.link).rpartition(b"/")
            if self._place(parent)[0] != self._at:
                raise Conflict(f"cannot {self._jail.what}: the hard link {show(entry.name)} leads through a symbolic link of the container")
            self._make(_HARD_LINK, place, entry, self._below(parent, name))
        else:
            self._tell(f"{show(entry.name)} is {_NAMES.get(entry.kind, 'of a type that is not copied')}")

    # --- folders that the source does not make -----------------------------------------------------------------------------------

    def _go(self, parent: bytes, name: bytes) -> bytes:
        """The place of `name` in the folder `parent` below the helper's base, which becomes another where a link leads away."""
        if parent not in self._folders:
            self._imply(parent)
        base, _ = self._place(parent)
        if base != self._at:
            self._jail.base(base)
            self._at = base
        return self._below(parent, name)

    def _below(self, parent: bytes, name: bytes) -> bytes:
        _, rest = self._place(parent)
        return rest + b"/" + name if rest and name else rest or name

    def _place(self, folder: bytes) -> tuple[bytes, bytes]:
        """Base and path below it."""
        head = folder
        while head:
            if head in self._elsewhere:
                return self._elsewhere[head], folder[len(head) + 1 :]
            head = head.rpartition(b"/")[0]
        return self._base, folder

    def _imply(self, folder: bytes) -> None:
        """Makes a folder that entries are in and no entry is, or finds it, also where a symbolic link of the container leads."""
        parent, _, name = folder.rpartition(b"/")
        place = self._go(parent, name)
        status = self._jail.find(place)
        self._folders[folder] = None
        if status is not None and status.is_link:
            base, rest = self._place(parent)
            self._elsewhere[folder] = b"/".join(part for part in (base, rest, name) if part)
        elif status is None:
            entry = Entry(folder, tar.DIRECTORY, 0o755, 0, 0, 0, 0, b"", 0)
            self._make(_FOLDER, place, entry)
            self._jail.send(encode_op(ops.files_open(1, place, 0, 0, 0)))
            self._close(entry)
        elif not status.is_folder:
            raise Conflict(f"cannot {self._jail.what}: {show(folder)} is no folder")
