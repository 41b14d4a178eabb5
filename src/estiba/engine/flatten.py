"""A stack of layers as one plain directory, for those who cannot mount an overlay: the rootfs of a bundle.

Two passes over the layers' tars. The first one decides, on names alone, which layer's file is in sight at each path
(`stack_view`); the second one writes just these. Directories get their attributes last, since writing in them changes times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from estiba.engine.stack_configs import unique_layers
from estiba.engine.stack_view import View, entries_of, new_tree
from estiba.errors import DataLoss, FailedPrecondition
from estiba.oci.digest import DiffID
from estiba.store.layers import open_tar, tar
from estiba.store.layers.tree import DEVICE, DIRECTORY, FIFO, FILE, LINK, SAME_DIRECTORY, SYMLINK
from estiba.store.layout import Store

#: From the owner in a tar to the owner on disk; None leaves the caller's.
Owner = Callable[[int, int], tuple[int, int] | None]
_CAPABILITY = b"security.capability"


@dataclass
class _Plan:
    """What one layer contributes. `final` is its tree, `stand_ins` says under which visible link to write a file whose own name is
    hidden by a layer above.
    """

    diff_id: DiffID
    final: dict[bytes, int]
    links: list[tuple[bytes, bytes]] = field(default_factory=list)
    stand_ins: dict[bytes, bytes] = field(default_factory=dict)


def write_root(store: Store, layers: Sequence[DiffID], root: int, owner: Owner) -> list[str]:
    """Writes the stack's files into an empty directory.

    Parameters: `layers`, lowest first; `root`, a descriptor of the directory; `owner`, who owns a file on disk. Returns the paths of
    device nodes, which are not made. Raises NotFound, DataLoss, FailedPrecondition for an owner that has no place on disk, OSError.
    """
    unique = unique_layers(layers)
    view = View([str(diff_id) for diff_id in unique])
    plans = [_first_pass(store, diff_id, number, view) for number, diff_id in enumerate(unique)]
    writer = RootWriter(root, owner)
    for number, plan in enumerate(plans):
        for path, target in plan.links:
            if view.image_of(_shown(path)) == number and view.image_of(_shown(target)) != number:
                plan.stand_ins.setdefault(target, path)
        _second_pass(store, plan, number, view, writer)
    writer.finish()
    return writer.devices


def _shown(path: bytes) -> str:
    return "/" + os.fsdecode(path) if path else ""


def _first_pass(store: Store, diff_id: DiffID, number: int, view: View) -> _Plan:
    chunks = open_tar(store, diff_id)
    reader = tar.TarReader(lambda: next(chunks, b""), what=f"layer {diff_id[:19]}")
    tree = new_tree()
    plan = _Plan(diff_id, tree.entries)
    for member, entry in enumerate(reader, 1):
        path, kind = tree.enter(entry, member)
        if kind == LINK:
            plan.links.append((path, tree.link_target))
    view.add_layer(number, entries_of(tree, {}))
    return plan


def _second_pass(store: Store, plan: _Plan, number: int, view: View, writer: RootWriter) -> None:
    chunks = open_tar(store, plan.diff_id)
    reader = tar.TarReader(lambda: next(chunks, b""), what=f"layer {plan.diff_id[:19]}")
    tree = new_tree()
    written: dict[bytes, bytes] = {}
    for member, entry in enumerate(reader, 1):
        path, kind = tree.enter(entry, member)
        visible = view.image_of(_shown(path)) == number
        if kind in (DIRECTORY, SAME_DIRECTORY) and visible:
            writer.directory(path, entry)
        elif kind == LINK and visible and tree.link_target in written:
            if written[tree.link_target] != path:
                writer.link(written[tree.link_target], path)
            written[path] = path
        elif kind in (FILE, SYMLINK, FIFO, DEVICE) and _is_final(plan.final, path, kind, member):
            place = path if visible else plan.stand_ins.get(path)
            if place is not None:
                writer.other(place, kind, entry, reader)
                written[path] = place


def _is_final(final: dict[bytes, int], path: bytes, kind: int, member: int) -> bool:
    """Whether no later member of the same tar has taken the name."""
    value = final.get(path, 0)
    return value & 7 == kind and value >> 3 in (0, member)


class RootWriter:
    """Writes below a directory that is held: each path is walked from there without following a link (openat(2), O_NOFOLLOW)."""

    def __init__(self, root: int, owner: Owner) -> None:
        self._root = root
        self._owner = owner
        self._directories: dict[bytes, tar.Entry | None] = {b"": None}
        self.devices: list[str] = []

    def directory(self, path: bytes, entry: tar.Entry) -> None:
        """Makes a directory; its attributes come with `finish`."""
        os.close(self._folder(path))
        self._directories[path] = entry

    def other(self, path: bytes, kind: int, entry: tar.Entry, reader: tar.TarReader) -> None:
        """Makes a file, symbolic link or FIFO."""
        if kind == DEVICE:
            self.devices.append(_shown(path))
            return
        folder, name = self._place(path)
        try:
            if kind == SYMLINK:
                os.symlink(entry.link, name, dir_fd=folder)
            elif kind == FIFO:
                os.mkfifo(name, 0o600, dir_fd=folder)
            else:
                self._file(folder, name, path, entry, reader)
                return
            self._attributes(folder, name, path, entry, follow=kind == FIFO)
        finally:
            os.close(folder)

    def link(self, target: bytes, path: bytes) -> None:
        """Makes a further name of a file that was written."""
        source, source_name = self._parent(target)
        folder, name = self._place(path)
        try:
            os.link(source_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(source)
            os.close(folder)

    def finish(self) -> None:
        """Owners, modes and times of the directories, the deepest first."""
        for path in sorted(self._directories, reverse=True):
            entry = self._directories[path]
            descriptor = self._folder(path)
            try:
                if entry is None:
                    self._chown(descriptor, path, 0, 0)
                    os.fchmod(descriptor, 0o755)
                else:
                    self._describe(descriptor, path, entry)
            finally:
                os.close(descriptor)

    def _file(self, folder: int, name: bytes, path: bytes, entry: tar.Entry, reader: tar.TarReader) -> None:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            for offset, length in entry.parts if entry.parts is not None else [(0, entry.size)]:
                os.lseek(descriptor, offset, os.SEEK_SET)
                for chunk in reader.chunks(length):
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(descriptor, view) :]
            os.ftruncate(descriptor, entry.real_size)
            self._describe(descriptor, path, entry)
        finally:
            os.close(descriptor)

    def _describe(self, descriptor: int, path: bytes, entry: tar.Entry) -> None:
        """Owner first: chown(2) takes set-id bits and capabilities away."""
        self._chown(descriptor, path, entry.uid, entry.gid)
        os.fchmod(descriptor, entry.mode)
        for name, value in (entry.xattrs or {}).items():
            self._xattr(descriptor, path, name, value)
        os.utime(descriptor, ns=(_nanoseconds(entry), _nanoseconds(entry)))

    def _chown(self, descriptor: int, path: bytes, uid: int, gid: int) -> None:
        if owner := self._owned(path, uid, gid):
            os.fchown(descriptor, *owner)

    def _owned(self, path: bytes, uid: int, gid: int) -> tuple[int, int] | None:
        try:
            return self._owner(uid, gid)
        except KeyError as error:
            raise FailedPrecondition(f"cannot write {_shown(path)}: its owner {uid}:{gid} has no place in the container's ids") from error

    def _xattr(self, descriptor: int, path: bytes, name: bytes, value: bytes) -> None:
        if name == _CAPABILITY:
            owner = self._owned(path, 0, 0)
            if owner is None:
                return  # only who is privileged over the file may set it, and an ordinary user is not
            value = capability_for(value, owner[0])
        elif not name.startswith(b"user."):
            return
        os.setxattr(descriptor, name, value)

    def _attributes(self, folder: int, name: bytes, path: bytes, entry: tar.Entry, *, follow: bool) -> None:
        if owner := self._owned(path, entry.uid, entry.gid):
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        if follow:
            os.chmod(name, entry.mode, dir_fd=folder)
        os.utime(name, ns=(_nanoseconds(entry), _nanoseconds(entry)), dir_fd=folder, follow_symlinks=False)

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        parent, _, name = path.rpartition(b"/")
        return self._folder(parent), name

    def _place(self, path: bytes) -> tuple[int, bytes]:
        """The parent's descriptor and the name, where nothing is any more."""
        folder, name = self._parent(path)
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        return folder, name

    def _folder(self, path: bytes) -> int:
        """A descriptor of a directory, made with its parents where it is missing."""
        at = os.dup(self._root)
        for depth, part in enumerate(path.split(b"/") if path else [], 1):
            try:
                os.mkdir(part, 0o700, dir_fd=at)
                self._directories.setdefault(b"/".join(path.split(b"/")[:depth]), None)
            except FileExistsError:
                pass
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            except NotADirectoryError as error:
                raise DataLoss(f"cannot write {_shown(path)}: a part of it is not a directory") from error
            finally:
                os.close(at)
            at = inner
        return at


def _nanoseconds(entry: tar.Entry) -> int:
    return entry.mtime * 10**9 + entry.nanoseconds


def capability_for(value: bytes, root: int) -> bytes:
    """A file's capabilities as the user namespace whose root is `root` on disk honours them.

    capabilities(7), "File capability extended attribute versioning": version 3 is version 2 with the id of a namespace's root behind.
    """
    magic = int.from_bytes(value[:4], "little")
    if root == 0 or len(value) != 20 or magic & 0xFF000000 != 0x02000000:
        return value
    return (0x03000000 | magic & 0xFFFFFF).to_bytes(4, "little") + value[4:] + root.to_bytes(4, "little")
