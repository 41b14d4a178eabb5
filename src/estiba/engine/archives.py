"""Image archives as a set of named members that are read, never extracted.

An archive is a tar (plain or compressed, from a file or a pipe) or an OCI layout directory. A tar's members are listed once
by the strict reader, and read again at their offsets from a descriptor that is held; a directory's files are opened beneath
a held descriptor, component by component, without following a link (openat(2), O_NOFOLLOW), and only when they are regular.
So no name in an archive ever becomes a path of the host, and no FIFO or device is opened.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from estiba.engine.compression import inflate
from estiba.errors import DataLoss, InvalidArgument, NotFound, OnFailure
from estiba.store.layers import tar
from estiba.store.layers.inflate import detect
from estiba.store.publish import failure

CHUNK = 1 << 18


class Archive(Protocol):
    """What `load` reads from; `what` names it in messages. Member names are relative, with slashes."""

    what: str

    def has(self, name: str) -> bool:
        """Whether there is something of this name."""
        ...

    def size(self, name: str) -> int:
        """Bytes of a member. Raises NotFound, DataLoss."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """The member's content. Raises NotFound, DataLoss."""
        ...

    def close(self) -> None:
        """Gives up what is held."""
        ...


def read_member(archive: Archive, name: str, limit: int = 4 << 20) -> bytes:
    """A small member whole. Raises NotFound, DataLoss (also when it is longer than `limit` bytes)."""
    size = archive.size(name)
    if size > limit:
        raise DataLoss(f"cannot load {archive.what}: member {name!r} has {size} bytes, the limit is {limit}")
    return b"".join(archive.chunks(name))


def open_archive(source: BinaryIO | str, ingest: str, budget: int) -> Archive:
    """Opens a path or a stream.

    Parameters: `ingest`, the folder for unverified bytes, where a pipe or a compressed archive is kept (nameless) while it is
    read; `budget`, how many bytes it may have there. Raises NotFound, InvalidArgument, DataLoss, ResourceExhausted.
    """
    if not isinstance(source, str):
        what = stream_name(source)
        return TarArchive(plain_tar(source.fileno(), what, ingest, budget), what)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound(f"cannot load {source}: no such file or directory") from error
    except OSError as error:
        raise InvalidArgument(f"cannot load {source}: {error.strerror}") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        return LayoutDirectory(descriptor, source)
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise InvalidArgument(f"cannot load {source}: it is neither a regular file nor a directory")
    try:
        return TarArchive(plain_tar(descriptor, source, ingest, budget), source)
    finally:
        os.close(descriptor)


def stream_name(source: BinaryIO) -> str:
    """What messages call a stream: its path, or standard input."""
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "standard input"


def plain_tar(descriptor: int, what: str, ingest: str, budget: int) -> int:
    """A new descriptor of the plain tar, to be read by pread(2): the file itself, or a nameless copy of what a pipe or a
    compressed file holds. Parameters as for `open_archive`. Raises DataLoss, ResourceExhausted.
    """
    at_start = stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    if at_start and detect(os.pread(descriptor, 16, 0)) == "none":
        return os.dup(descriptor)
    try:
        with tempfile.TemporaryFile(dir=ingest, buffering=0) as file:
            for chunk in inflate(_read_all(descriptor), what, budget):
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
            return os.dup(file.fileno())
    except OSError as error:
        raise failure(error, f"keep the content of {what}") from error


def pread_all(descriptor: int) -> Iterator[bytes]:
    """The whole file of a descriptor, whatever its position."""
    at = 0
    while chunk := os.pread(descriptor, CHUNK, at):
        yield chunk
        at += len(chunk)


def _read_all(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def member_name(raw: bytes, what: str) -> str:
    """A member's name as a relative path without `.`; "" for the archive's own directory.

    Raises DataLoss for a name that is absolute, leads out of the archive, or is not UTF-8.
    """
    try:
        name = raw.decode()
    except UnicodeDecodeError as error:
        raise DataLoss(f"cannot load {what}: member {raw!r} has a name that is not UTF-8") from error
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DataLoss(f"cannot load {what}: member {name!r} lies outside the archive")
    return "/".join(parts)


class TarArchive:
    """A tar whose members were listed. Owns `descriptor`."""

    def __init__(self, descriptor: int, what: str) -> None:
        self.what = what
        self._descriptor = descriptor
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        with OnFailure(os.close, descriptor):
            self._list()

    def _list(self) -> None:
        chunks = pread_all(self._descriptor)
        reader = tar.TarReader(lambda: next(chunks, b""), what=self.what)
        for entry in reader:
            name = member_name(entry.name, self.what)
            if name in self._members or name in self._links:
                raise DataLoss(f"cannot load {self.what}: member {name!r} is there twice")
            if entry.kind == tar.FILE:
                if entry.parts is not None:
                    raise DataLoss(f"cannot load {self.what}: member {name!r} is sparse")
                self._members[name] = (reader.offset, entry.size)
            elif entry.kind in (tar.SYMLINK, tar.HARD_LINK):
                folder = posixpath.dirname(name) if entry.kind == tar.SYMLINK else ""
                self._links[name] = posixpath.normpath(posixpath.join(folder, os.fsdecode(entry.link)))
            elif entry.kind != tar.DIRECTORY:
                raise DataLoss(f"cannot load {self.what}: member {name!r} is a device or FIFO")

    def has(self, name: str) -> bool:
        return name in self._members or name in self._links

    def size(self, name: str) -> int:
        return self._find(name)[1]

    def chunks(self, name: str) -> Iterator[bytes]:
        at, left = self._find(name)
        while left:
            chunk = os.pread(self._descriptor, min(CHUNK, left), at)
            if not chunk:
                raise DataLoss(f"cannot load {self.what}: it became shorter while it was read")
            yield chunk
            at, left = at + len(chunk), left - len(chunk)

    def _find(self, name: str) -> tuple[int, int]:
        """A link counts when it names a file of the same archive: Docker before 25 wrote a layer shared by two images so."""
        if name in self._links and self._links[name] not in self._members:
            raise DataLoss(f"cannot load {self.what}: member {name!r} is a link to {self._links[name]!r}, no file of the archive")
        found = self._members.get(self._links.get(name, name))
        if found is None:
            raise NotFound(f"cannot load {self.what}: member {name!r} is missing")
        return found

    def close(self) -> None:
        os.close(self._descriptor)


class LayoutDirectory:
    """An OCI layout as a directory (image-layout.md). Owns `descriptor`."""

    def __init__(self, descriptor: int, what: str) -> None:
        self.what = what
        self._descriptor = descriptor

    def has(self, name: str) -> bool:
        try:
            os.close(self._reach(name))
        except NotFound:
            return False
        return True

    def size(self, name: str) -> int:
        descriptor = self._open(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def chunks(self, name: str) -> Iterator[bytes]:
        descriptor = self._open(name)
        try:
            yield from _read_all(descriptor)
        finally:
            os.close(descriptor)

    def _reach(self, name: str) -> int:
        """An O_PATH descriptor of what has this name: nothing is opened in the sense of open(2), a FIFO least of all."""
        member_name(name.encode(), self.what)
        at = os.dup(self._descriptor)
        parts = name.split("/")
        for number, part in enumerate(parts):
            # O_DIRECTORY refuses a link (ENOTDIR), for O_NOFOLLOW with O_PATH alone would hand the link itself out.
            flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_DIRECTORY if number < len(parts) - 1 else 0)
            try:
                inner = os.open(part, flags, dir_fd=at)
            except FileNotFoundError as error:
                raise NotFound(f"cannot load {self.what}: {name!r} is missing") from error
            except NotADirectoryError as error:
                raise DataLoss(f"cannot load {self.what}: a part of {name!r} is not a directory") from error
            finally:
                os.close(at)
            at = inner
        return at

    def _open(self, name: str) -> int:
        found = self._reach(name)
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise DataLoss(f"cannot load {self.what}: {name!r} is not a regular file")
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)

    def close(self) -> None:
        os.close(self._descriptor)
