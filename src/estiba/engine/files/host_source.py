"""A tree of this machine as a source."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from estiba.engine.files.entries import Buffer, Source, Tell, kept, kind_of, nothing, set_parts, stretches
from estiba.errors import Conflict
from estiba.store.layers import tar
from estiba.store.layers.pax import show
from estiba.store.layers.tar import Entry

_PIECE = 1 << 18
_MAX_PARTS = 4096
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(root: int, path: bytes) -> int:
    """A new descriptor of the folder at `path` below `root`, walked to without following a link."""
    at = os.dup(root)
    for part in path.split(b"/") if path else ():
        try:
            inner = os.open(part, _FOLDER, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at


class HostSource:
    """Trees of this machine. `folder` is a descriptor of the folder that holds them."""

    def __init__(self, folder: int, tell: Tell) -> None:
        self._folder = folder
        self._tell = tell
        self._names: dict[tuple[int, int], bytes] = {}  # of files with several names

    def entries(self, path: bytes, name: bytes) -> Source:
        """The tree at `path`, whose top is called `name`. Raises OSError."""
        top = os.stat(path, dir_fd=self._folder, follow_symlinks=False)
        if not stat.S_ISDIR(top.st_mode):
            yield from self._entry(self._folder, path, name, top)
            return
        folders = [(path, name)]
        while folders:
            path, name = folders.pop()
            folder = open_folder(self._folder, path)
            try:
                yield self._described(os.fstat(folder), folder, name), nothing
                below = []
                for each in sorted(os.fsencode(entry) for entry in os.listdir(folder)):
                    status = os.stat(each, dir_fd=folder, follow_symlinks=False)
                    inner = each if name == b"." else name + b"/" + each
                    if stat.S_ISDIR(status.st_mode):
                        below.append((path + b"/" + each, inner))
                    else:
                        yield from self._entry(folder, each, inner, status)
                folders += reversed(below)
            finally:
                os.close(folder)

    def _entry(self, folder: int, path: bytes, name: bytes, status: os.stat_result) -> Source:
        kind = kind_of(status.st_mode)
        if kind is None:
            self._tell(f"{show(name)} is a device or a socket")
            return
        first = self._names.get((status.st_dev, status.st_ino)) if kind == tar.FILE else None
        if kind == tar.FILE and first is None:
            yield from self._file(folder, path, name)
            return
        entry = _plain(name, status)
        if first is not None:
            entry.kind, entry.link = tar.HARD_LINK, first
        elif kind == tar.SYMLINK:
            entry.link = os.readlink(path, dir_fd=folder)
        yield entry, nothing

    def _file(self, folder: int, path: bytes, name: bytes) -> Source:
        file = os.open(path, _READ, dir_fd=folder)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise Conflict(f"cannot read {show(name)}: it is no file any more")
            entry = self._described(status, file, name)
            entry.real_size = status.st_size
            set_parts(entry, _parts(file, status))
            offsets = iter([offset for offset, _ in stretches(entry)])

            def take(size: int) -> Iterator[Buffer]:
                return self._read(file, next(offsets), size, name)

            yield entry, take
            if status.st_nlink > 1:
                self._names[status.st_dev, status.st_ino] = name
        finally:
            os.close(file)

    def _read(self, file: int, offset: int, size: int, name: bytes) -> Iterator[Buffer]:
        """Exactly `size` bytes; zeros stand for what is not there any more."""
        end = offset + size
        while offset < end:
            piece = os.pread(file, min(end - offset, _PIECE), offset)
            if not piece:
                self._tell(f"{show(name)} became shorter while it was read")
                piece = bytes(end - offset)
            offset += len(piece)
            yield piece

    def _described(self, status: os.stat_result, descriptor: int, name: bytes) -> Entry:
        entry = _plain(name, status)
        try:
            entry.xattrs = kept({os.fsencode(each): os.getxattr(descriptor, each) for each in os.listxattr(descriptor)})
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENODATA):
                raise
        return entry


def _plain(name: bytes, status: os.stat_result) -> Entry:
    kind = kind_of(status.st_mode)
    assert kind is not None
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    entry = Entry(name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, 0, seconds, b"", 0)
    entry.nanoseconds = nanoseconds
    return entry


def _parts(file: int, status: os.stat_result) -> list[tuple[int, int]]:
    """What of an open file is no hole (lseek(2), SEEK_DATA)."""
    size = status.st_size
    if status.st_blocks * 512 >= size:
        return [(0, size)] if size else []
    parts: list[tuple[int, int]] = []
    at = 0
    while at < size and len(parts) < _MAX_PARTS:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
            end = min(size, os.lseek(file, at, os.SEEK_HOLE))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return parts
        parts.append((at, end - at))
        at = end
    return [*parts, (at, size - at)] if at < size else parts
