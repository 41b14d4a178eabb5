"""Writes tar streams (POSIX.1-2017 pax interchange format) that depend on nothing but their arguments.

Owners are root, times whole seconds, names in the order given: the same entries give the same bytes on every machine.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

BLOCK = tarfile.BLOCKSIZE
END = b"\0" * (2 * BLOCK)

REGULAR, SYMLINK, DIRECTORY = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


def header(name: str, kind: bytes, *, mode: int, size: int = 0, mtime: int = 0, target: str = "") -> bytes:
    """The header block of one entry, preceded by a pax header where a name or number needs one.

    Parameters: `kind`, one of REGULAR, SYMLINK, DIRECTORY; `size` in bytes; `mtime` in seconds since 1970; `target` of a
    symbolic link.
    """
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.mtime, info.linkname = kind, mode, size, mtime, target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """The zeros that fill a member of `size` bytes up to a whole block."""
    return b"\0" * (-size % BLOCK)


def member(name: str, data: bytes, *, mode: int = 0o644, mtime: int = 0) -> Iterator[bytes]:
    """A regular file whose content is at hand."""
    yield header(name, REGULAR, mode=mode, size=len(data), mtime=mtime)
    yield data + padding(len(data))
