"""The exact tar of an unpacked layer, and what else is read back from it.

Files are read by the helper in its jail (`estiba-init read`): one way for root and for users whose files have subordinate ids, and no
path of a layer is ever opened in this process (hardening W1, W5).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from struct import Struct

from estiba.errors import DataLoss, NotFound
from estiba.oci.digest import DiffID
from estiba.store.layers import records, tree
from estiba.store.layers.info import layer_folder, layer_info, short
from estiba.store.layers.jail import Jail
from estiba.store.layers.pax import Malformed, show
from estiba.store.layers.remove import settings_of
from estiba.store.layers.split import Part, read_split
from estiba.store.layers.tar import Entry, TarReader
from estiba.store.layers.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from estiba.config.settings import Settings
    from estiba.store.layers.info import LayerInfo
    from estiba.store.layout import Store

_PIECE = 1 << 18
#: Requests under way: their records fit into a pipe, so that neither side waits for the other for ever (pipe(7)).
_REQUESTS = 200
_REQUEST_BYTES = 1 << 15
_STATUS = Struct("<IIIQqII")

_TYPES = {
    tree.DIRECTORY: "directory", tree.FILE: "file", tree.SYMLINK: "symlink", tree.FIFO: "fifo", tree.DEVICE: "device",
    tree.WHITEOUT: "whiteout",
}  # fmt: skip


def open_tar(store: Store, diff_id: DiffID, settings: Settings | None = None) -> Iterator[bytes]:
    """The layer's tar, bit for bit, in pieces. Its digest is compared with the DiffID at the end.

    Raises NotFound when the layer is not in the store, DataLoss when it cannot be rebuilt, naming the file that is damaged.
    """
    info = layer_info(store, diff_id)
    what = f"layer {short(diff_id)}"
    digest = hashlib.new(diff_id.partition(":")[0])
    with (
        _open_split(store, diff_id) as split,
        Jail(settings or settings_of(store), "read", layer_folder(store, diff_id), what=f"read {what}") as jail,
    ):
        for piece in _joined(_content(read_split(split, what), info, jail, what)):
            digest.update(piece)
            yield piece
    if f"{digest.name}:{digest.hexdigest()}" != diff_id:
        raise DataLoss(f"cannot rebuild {what}: the digest of its tar is {digest.name}:{digest.hexdigest()}")


def _open_split(store: Store, diff_id: DiffID) -> BinaryIO:
    try:
        return open(layer_folder(store, diff_id) + "/split", "rb")
    except FileNotFoundError:
        raise DataLoss(f"cannot rebuild layer {short(diff_id)}: its split file is missing") from None


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of a useful size."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


def _content(split: Iterator[bytes | Part], info: LayerInfo, jail: Jail, what: str) -> Iterator[bytes]:
    """Asks for some files at once, then hands out what lies between them and their content in order."""
    batch: list[bytes | Part] = []
    asked = count = literal = 0
    for record in split:
        batch.append(record)
        if isinstance(record, Part):
            request = records.read(_place(record, info), record.offset, record.size)
            jail.send(request)
            asked += len(request)
            count += 1
        else:
            literal += len(record)
        if count >= _REQUESTS or asked >= _REQUEST_BYTES or literal >= 4 * _PIECE:
            yield from _answers(batch, jail, what)
            batch.clear()
            asked = count = literal = 0
    yield from _answers(batch, jail, what)


def _place(part: Part, info: LayerInfo) -> bytes:
    return b"kept/%d" % part.member if part.member in info.kept else b"fs/" + part.path


def _answers(batch: list[bytes | Part], jail: Jail, what: str) -> Iterator[bytes]:
    jail.flush()
    for record in batch:
        if isinstance(record, Part):
            yield from _file(record, jail, what)
        else:
            yield record


def _file(part: Part, jail: Jail, what: str) -> Iterator[bytes]:
    from isal import isal_zlib

    damaged = f"cannot rebuild {what}: the file {show(part.path)}"
    answer = jail.receive(4)
    if len(answer) < 4:
        raise jail.failure()
    number = int.from_bytes(answer, "little")
    if number == errno.EIO:
        raise DataLoss(f"{damaged} is not as long as it was, or not a file")
    if number:
        raise DataLoss(f"{damaged} cannot be read: {os.strerror(number)}")
    crc = 0
    left = part.size
    while left:
        wanted = min(left, _PIECE)
        piece = jail.receive(wanted)
        if len(piece) < wanted:
            raise DataLoss(f"{damaged} became shorter while it was read")
        crc = isal_zlib.crc32(piece, crc)
        left -= wanted
        yield piece
    if crc != part.crc:
        raise DataLoss(f"{damaged} is damaged")


# --- the tree, without its content ---------------------------------------------------------------------------------------


class _Nobody:
    """Carries out nothing: for a tree that is only looked at."""

    def make_directory(self, path: bytes) -> None:
        """Nothing."""

    def erase(self, path: bytes, *, is_directory: bool) -> None:
        """Nothing."""

    def keep(self, path: bytes, member: int) -> None:
        """Nothing."""


def _members(store: Store, diff_id: DiffID) -> Iterator[Entry]:
    """The members of the layer's tar, from the split alone; their content reads as zeros."""
    what = f"layer {short(diff_id)}"
    zeros = bytes(_PIECE)
    layer_info(store, diff_id)

    def pieces() -> Iterator[bytes]:
        for record in read_split(split, what):
            if isinstance(record, bytes):
                yield record
                continue
            left = record.size
            while left:
                yield zeros[: min(left, _PIECE)]
                left -= min(left, _PIECE)

    with _open_split(store, diff_id) as split:
        source = pieces()
        yield from TarReader(lambda: next(source, b""), what=what)


def _final(store: Store, diff_id: DiffID) -> tuple[Tree, dict[bytes, Entry]]:
    """The tree after the last member, and the member that made each name."""
    result = Tree(_Nobody())
    made: dict[bytes, Entry] = {}
    for number, entry in enumerate(_members(store, diff_id), 1):
        try:
            path, kind = result.enter(entry, number)
        except Malformed as error:
            raise DataLoss(f"cannot read layer {short(diff_id)}: entry {show(entry.name)}: {error}") from None
        if kind == tree.LINK:
            made[path] = made[result.link_target]
        elif kind != tree.NOTHING:
            made[path] = entry
    return result, made


def tree_entries(store: Store, diff_id: DiffID) -> Iterator[tuple[bytes, str, int]]:
    """What the layer holds, in order of path: (path without leading slash, type, size in bytes).

    Types: directory, file, symlink, fifo, device (not made on disk), whiteout, and opaque for a directory that hides those below it.
    Raises NotFound, DataLoss.
    """
    result, made = _final(store, diff_id)
    for path in sorted(result.entries):
        kind = result.entries[path] & 7
        opaque = kind == tree.DIRECTORY and path in result.opaque
        yield path, "opaque" if opaque else _TYPES[kind], made[path].real_size if kind == tree.FILE else 0


# --- check ---------------------------------------------------------------------------------------------------------------


def verify_layer(store: Store, diff_id: DiffID, settings: Settings | None = None) -> list[str]:
    """What is wrong with a layer, one line each; empty when it is whole: its tar rebuilds to the DiffID, and every entry of the tree has
    the type, owner, mode, size, time and target that the tar says. Raises NotFound.
    """
    problems: list[str] = []
    try:
        for _ in open_tar(store, diff_id, settings):
            pass
        problems += _differences(store, diff_id, settings)
    except NotFound:
        raise
    except DataLoss as error:
        problems.append(error.message)
    return problems


def _differences(store: Store, diff_id: DiffID, settings: Settings | None) -> Iterator[str]:
    what = f"layer {short(diff_id)}"
    info = layer_info(store, diff_id)
    result, made = _final(store, diff_id)
    paths = [path for path, value in result.entries.items() if path and value & 7 != tree.DEVICE]
    with Jail(settings or settings_of(store), "read", layer_folder(store, diff_id), what=f"check {what}") as jail:
        step = 8  # a record is at most a path long: this many always fit into the pipe
        for start in range(0, len(paths), step):
            batch = paths[start : start + step]
            jail.send(*(records.stat(b"fs/" + path) for path in batch))
            jail.flush()
            for path in batch:
                entry = None if path in result.implied else made.get(path)
                cause = _difference(jail, result.entries[path] & 7, entry, squashed=info.squashed)
                if cause:
                    yield f"{what}: {show(path)} {cause}"


_MODES = {
    tree.DIRECTORY: stat.S_IFDIR, tree.FILE: stat.S_IFREG, tree.SYMLINK: stat.S_IFLNK, tree.FIFO: stat.S_IFIFO,
    tree.WHITEOUT: stat.S_IFCHR,
}  # fmt: skip


def _difference(jail: Jail, kind: int, entry: Entry | None, *, squashed: bool) -> str:
    number = int.from_bytes(jail.receive(4), "little")
    if number:
        return f"cannot be read: {os.strerror(number)}"
    mode, uid, gid, size, mtime, nanoseconds, length = _STATUS.unpack(jail.receive(_STATUS.size))
    target = jail.receive(length)
    if stat.S_IFMT(mode) != _MODES[kind]:
        return "is of another type"
    if kind == tree.WHITEOUT:
        return ""
    wanted_mode, owner = (entry.mode, (entry.uid, entry.gid)) if entry else (0o755, (0, 0))
    if kind != tree.SYMLINK and stat.S_IMODE(mode) != wanted_mode:
        return f"has mode {stat.S_IMODE(mode):04o}, not {wanted_mode:04o}"
    if (uid, gid) != ((0, 0) if squashed else owner):
        return f"belongs to {uid}:{gid}"
    if entry is None:
        return ""
    if kind == tree.FILE and size != entry.real_size:
        return f"has {size} bytes, not {entry.real_size}"
    if kind == tree.SYMLINK and target != entry.link:
        return f"points to {show(target)}"
    # File systems keep different ranges of time; all keep this one.
    if 0 <= entry.mtime < 1 << 31 and (mtime, nanoseconds) != (entry.mtime, entry.nanoseconds):
        return "has another modification time"
    return ""
