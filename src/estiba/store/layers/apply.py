"""Unpacks a layer into the store: compressed bytes in, `layers/<hex>` out.

    chunks -> Inflater (inflate, digest) -> TarReader -> Tree (what each entry means) -> records -> estiba-init unpack
                                                           └-> SplitWriter (what rebuilds the tar)

All is written in a folder of `ingest/` that this process and the helper hold locked. Only when the source is read to its end (the
caller's iterator checks the blob's digest), the tar is whole and its digest is the DiffID, one syncfs(2) and one rename(2) publish it.
After that new files are entered into `files/`, so that no name there can show content that a power cut takes away.
"""

from __future__ import annotations

import os
from hashlib import sha256

from estiba.errors import DataLoss, ResourceExhausted
from estiba.linux.idmap import layer_maps
from estiba.oci.digest import DiffID, hex_of, parse_diff_id
from estiba.store.layers import records, tar, tree
from estiba.store.layers.inflate import Inflater, compression_of
from estiba.store.layers.info import LayerBlob, LayerInfo, layer_info, short
from estiba.store.layers.jail import Jail
from estiba.store.layers.owners import Owners
from estiba.store.layers.pax import Malformed, show
from estiba.store.layers.remove import has_layer
from estiba.store.layers.split import SplitWriter
from estiba.store.layers.tar import TarReader
from estiba.store.layers.tree import Tree
from estiba.store.layers.workplace import Workplace
from estiba.store.publish import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

    class Progress(Protocol):
        """The part of `engine.progress.Progress` that is used here."""

        def note(self, text: str, /) -> object: ...

    Attributes = tuple[int, int, int, int, int]

#: Names that one shared file may have; one more layer gets a copy. ext3 and f2fs allow 32,000, ext4 65,000, btrfs 65,535, others more,
#: and pathconf(3) only knows some of them. Others may be adding names right now.
MAX_NAMES = 30_000
#: Names of shared files that are kept in memory, about 150 bytes each.
MAX_LISTED = 100_000
#: Up to this size a file's key is known before it is sent.
SMALL = 1 << 20
_OPAQUE = b"user.overlay.opaque"
#: Beside `user.*`: what a user namespace's root may set (capabilities(7), acl(5)).
_MADE_XATTRS = frozenset((b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"))
#: A directory that no member names, and the tree's root where the tar has no `./`.
_PLAIN_DIRECTORY: Attributes = (0o755, 0, 0, 0, 0)


def apply_layer(
    store: Store,
    settings: Settings,
    diff_id: DiffID,
    media_type: str,
    chunks: Iterable[bytes],
    *,
    blob: LayerBlob | None = None,
    progress: Progress | None = None,
) -> LayerInfo:
    """Unpacks a layer, unless it is there: then nothing is read from `chunks`. The caller holds the content lock (`Store.using`).

    Parameters: `media_type` names the compression, the empty string lets its first bytes tell; `chunks` are the compressed bytes, whose
    iterator raises when they are not those of the blob; `blob` describes them for layer.json; `progress` hears what could not be made.
    Raises DataLoss (damaged, or not `diff_id`), NotImplemented (members or media types of unknown kinds), ResourceExhausted (budget, disk),
    FailedPrecondition (no user namespaces, owners that do not fit), and what `chunks` raises. Then nothing is in the store.
    """
    compression = compression_of(media_type)
    with store.lock("layer", hex_of(diff_id), what=f"layer {short(diff_id)}"):
        if has_layer(store, diff_id):
            return layer_info(store, diff_id)
        return _unpack(store, settings, diff_id, compression, chunks, blob, progress)


def import_layer(store: Store, settings: Settings, chunks: Iterable[bytes], *, progress: Progress | None = None) -> LayerInfo:
    """`apply_layer` for a tar whose DiffID is not known before it is read (`import`): the result's `diff_id` tells it.

    The compression is told by the first bytes.
    """
    return _unpack(store, settings, None, "detect", chunks, None, progress)


def _unpack(
    store: Store,
    settings: Settings,
    diff_id: DiffID | None,
    compression: str,
    chunks: Iterable[bytes],
    blob: LayerBlob | None,
    progress: Progress | None,
) -> LayerInfo:
    what = f"layer {short(diff_id)}" if diff_id else "layer"
    verb = f"unpack {what}"
    algorithm = diff_id.partition(":")[0] if diff_id else "sha256"
    with (
        Workplace(store, settings, verb) as workplace,
        Jail(settings, "unpack", store.root, what=verb, held=workplace.descriptor) as jail,
    ):
        inflater = Inflater(chunks, compression, budget=settings.unpack_max_bytes, what=verb, algorithm=algorithm)
        try:
            unpacker = _Unpacker(store, settings, jail, what)
            jail.send(records.layer(workplace.name, settings.unpack_max_bytes, settings.unpack_max_inodes))
            with open(workplace.path + "/split", "xb", buffering=1 << 18) as file:
                split = SplitWriter(file)
                unpacker.run(inflater.read, split)
                split.finish()
            found = parse_diff_id(inflater.finish())
            if diff_id and found != diff_id:
                raise DataLoss(f"cannot {verb}: its content has the digest {found}, not {diff_id}")
            info = unpacker.info(found, inflater.size)
            info.blobs = [blob] if blob is not None else []
            with open(workplace.path + "/layer.json", "xb") as file:
                file.write(info.to_json())
            jail.send(records.sync())
            jail.expect(b"synced\n")
            if diff_id:
                workplace.publish(found)
            else:
                with store.lock("layer", hex_of(found)):
                    workplace.publish(found)
        except OSError as error:
            raise failure(error, verb) from None
        for record in unpacker.new_files():
            jail.send(record)
        jail.finish()
    if progress is not None:
        for kind, (count, path) in info.not_made.items():
            progress.note(f"{what}: {count} {kind} not made, the first is {path}")
    return layer_info(store, found)


class _Unpacker:
    """The records of one layer, from its members."""

    def __init__(self, store: Store, settings: Settings, jail: Jail, what: str) -> None:
        from isal import isal_zlib

        self._crc32: Callable[..., int] = isal_zlib.crc32
        self._what = what
        self._jail = jail
        self._files = store.files
        self._shelves: dict[str, frozenset[str]] = {}
        self._listed = 0
        self._max_members = settings.unpack_max_inodes
        self._owners = Owners(layer_maps(settings), f"unpack {what}")
        self._tree = Tree(self)
        self._directories: dict[bytes, tuple[Attributes, dict[bytes, bytes] | None]] = {}
        self._new: list[tuple[bytes, int, bytes]] = []  # path, member, key of files that the store did not have
        self._kept: set[int] = set()
        self._not_made: dict[str, tuple[int, str]] = {}
        self._file_count = self._size = self._shared = 0

    # --- what the tree decides ---

    def make_directory(self, path: bytes) -> None:
        self._jail.send(records.directory(path))

    def erase(self, path: bytes, *, is_directory: bool) -> None:
        self._jail.send(records.erase(path, is_directory=is_directory))

    def keep(self, path: bytes, member: int) -> None:
        self._kept.add(member)
        self._jail.send(records.keep(path, member))

    # --- the archive ---

    def run(self, read: Callable[[], bytes], split: SplitWriter) -> None:
        """Sends the records of all members, and those that follow from their end."""
        reader = TarReader(read, what=self._what, literal=split.literal)
        member = 0
        while (entry := reader.next()) is not None:
            member += 1
            if member > self._max_members:
                raise ResourceExhausted(
                    f"cannot unpack {self._what}: it has more than {self._max_members} members",
                    hint="raise unpack-max-inodes in the configuration if you trust the image",
                )
            try:
                self._member(entry, member, reader, split)
            except Malformed as error:
                raise DataLoss(f"cannot unpack {self._what} (offset {entry.offset}): entry {show(entry.name)}: {error}") from None
        self._finish_directories()

    def _member(self, entry: tar.Entry, member: int, reader: TarReader, split: SplitWriter) -> None:
        path, kind = self._tree.enter(entry, member)
        uid, gid = self._owners.of(entry.uid, entry.gid, path)
        attributes = (entry.mode, uid, gid, entry.mtime, entry.nanoseconds)
        xattrs = self._made_xattrs(entry, path, kind) if entry.xattrs else None
        if kind == tree.FILE:
            self._file_count += 1
            self._size += entry.real_size
            if entry.size <= SMALL and entry.parts is None:
                self._small_file(path, attributes, xattrs, member, reader.content(), split)
            else:
                self._large_file(path, attributes, xattrs, member, entry, reader, split)
        elif kind in (tree.DIRECTORY, tree.SAME_DIRECTORY):
            if kind == tree.DIRECTORY:
                self._jail.send(records.directory(path))
            self._directories[path] = (attributes, xattrs)
        elif kind == tree.SYMLINK:
            self._jail.send(records.symlink(path, entry.link, attributes))
        elif kind == tree.LINK:
            self._jail.send(records.link(path, self._tree.link_target))
        elif kind == tree.WHITEOUT:
            self._jail.send(records.whiteout(path))
        elif kind == tree.FIFO:
            self._jail.send(records.fifo(path, attributes))
        elif kind == tree.DEVICE:
            self._note("device nodes", path)

    def _small_file(
        self,
        path: bytes,
        attributes: Attributes,
        xattrs: dict[bytes, bytes] | None,
        member: int,
        content: bytes | memoryview,
        split: SplitWriter,
    ) -> None:
        size = len(content)
        digest = sha256(b"%b\0%d %d %d %d %d\0" % (path, *attributes))
        if xattrs:
            digest.update(_xattr_key(xattrs))
        digest.update(content)
        key = digest.hexdigest()
        if size:
            split.file(path, member, 0, size, self._crc32(content))
        if self._has_file(key):
            self._shared += size
            self._jail.send(records.known(path, key.encode()))
            return
        self._jail.send(records.file_head(path, attributes, size), content)
        self._finish_file(path, xattrs, member if size else 0, key)

    def _large_file(
        self,
        path: bytes,
        attributes: Attributes,
        xattrs: dict[bytes, bytes] | None,
        member: int,
        entry: tar.Entry,
        reader: TarReader,
        split: SplitWriter,
    ) -> None:
        jail = self._jail
        digest = sha256(b"%b\0%d %d %d %d %d\0" % (path, *attributes))
        if xattrs:
            digest.update(_xattr_key(xattrs))
        if entry.parts is not None:
            digest.update(b"sparse %d %a\0" % (entry.real_size, entry.parts))
        jail.send(records.open_file(path))
        for offset, length, pieces in _stretches(entry, reader):
            crc = 0
            at = offset
            for piece in pieces:
                digest.update(piece)
                crc = self._crc32(piece, crc)
                jail.send(records.data_head(at, len(piece)), piece)
                at += len(piece)
            split.file(path, member, offset, length, crc)
        jail.send(records.close_file(entry.real_size, attributes))
        key = digest.hexdigest()
        if self._has_file(key):
            self._shared += entry.real_size
            jail.send(records.erase(path, is_directory=False), records.known(path, key.encode()))
        else:
            self._finish_file(path, xattrs, member if entry.size else 0, key)

    def _finish_file(self, path: bytes, xattrs: dict[bytes, bytes] | None, member: int, key: str) -> None:
        for name, value in xattrs.items() if xattrs else ():
            self._jail.send(records.xattr(path, name, value))
        self._new.append((path, member << 3 | tree.FILE, key.encode()))

    def _has_file(self, key: str) -> bool:
        """Whether the store had the file, with room for one more name (EMLINK, link(2)).

        Most have not been seen before, so a shelf is listed at its first use, as long as the lists are no burden.
        """
        name = key[:2]
        shelf = self._shelves.get(name)
        if shelf is None and self._listed < MAX_LISTED:
            try:
                shelf = frozenset(os.listdir(f"{self._files}/{name}"))
            except FileNotFoundError:
                shelf = frozenset()
            self._shelves[name] = shelf
            self._listed += len(shelf)
        if shelf is not None and key not in shelf:
            return False
        try:
            return os.stat(f"{self._files}/{name}/{key}").st_nlink < MAX_NAMES
        except FileNotFoundError:
            return False

    def _made_xattrs(self, entry: tar.Entry, path: bytes, kind: int) -> dict[bytes, bytes] | None:
        """The extended attributes that are made; the others are in the rebuilt tar all the same."""
        made = {}
        for name, value in entry.xattrs.items() if entry.xattrs else ():
            if name.startswith(b"user.overlay."):
                raise Malformed(f"the extended attribute {show(name)}, which is overlay's own")
            plain = kind in (tree.FILE, tree.DIRECTORY, tree.SAME_DIRECTORY)
            if plain and (name in _MADE_XATTRS or name.startswith(b"user.")):
                made[name] = value
            else:
                self._note(f"{name.partition(b'.')[0].decode('ascii', 'replace')}.* attributes", path)
        return made or None

    def _finish_directories(self) -> None:
        """Owners, modes, times and default ACLs of directories, when nothing more is made in them."""
        send = self._jail.send
        for path, value in self._tree.entries.items():
            if value & 7 != tree.DIRECTORY:
                continue
            implied = path in self._tree.implied
            attributes, xattrs = (_PLAIN_DIRECTORY, None) if implied else self._directories.get(path, (_PLAIN_DIRECTORY, None))
            for name, content in xattrs.items() if xattrs else ():
                send(records.xattr(path, name, content))
            if path in self._tree.opaque:
                send(records.xattr(path, _OPAQUE, b"y"))
            send(records.attributes_of(path, attributes))

    def new_files(self) -> Iterator[bytes]:
        """The records that enter new files into `files/`: those that are still what was written, not replaced by a later entry.

        Folder by folder: the helper opens each once.
        """
        entries = self._tree.entries
        self._new.sort()
        for path, value, key in self._new:
            if entries.get(path) == value:
                yield records.share(path, key)

    def info(self, diff_id: DiffID, tar_size: int) -> LayerInfo:
        """What layer.json holds."""
        info = LayerInfo(diff_id)
        info.size, info.files, info.shared_bytes, info.tar_size = self._size, self._file_count, self._shared, tar_size
        info.not_made = self._not_made
        info.squashed = self._owners.squashed
        info.highest_uid = _shown(self._owners.highest["uid"]) if self._owners.highest else (0, "")
        info.highest_gid = _shown(self._owners.highest["gid"]) if self._owners.highest else (0, "")
        info.kept = frozenset(self._kept)
        return info

    def _note(self, kind: str, path: bytes) -> None:
        count, first = self._not_made.get(kind, (0, show(path)))
        self._not_made[kind] = (count + 1, first)


def _stretches(entry: tar.Entry, reader: TarReader) -> Iterator[tuple[int, int, Iterator[bytes | memoryview]]]:
    """The stored parts of a file: offset, length and content of each. A plain file is one part."""
    if entry.parts is None:
        yield 0, entry.size, reader.chunks()
        return
    for offset, length in entry.parts:
        yield offset, length, reader.chunks(length)


def _xattr_key(xattrs: dict[bytes, bytes]) -> bytes:
    return b"".join(b"%d %b %d %b" % (len(name), name, len(value), value) for name, value in sorted(xattrs.items())) + b"\0"


def _shown(highest: tuple[int, bytes]) -> tuple[int, str]:
    return highest[0], show(highest[1])
