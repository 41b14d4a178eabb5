"""Tar archives made by hand, so that each field can be wrong on purpose."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

from estiba.oci.digest import DiffID

if TYPE_CHECKING:
    from collections.abc import Iterable

END = bytes(1024)


def header(
    name: bytes = b"file",
    *,
    kind: bytes = b"0",
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 1_700_000_000,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    rest: bytes | None = None,
) -> bytes:
    """One ustar header block with the right checksum; bytes are put into a number field as they are."""

    def field(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)

    after = rest if rest is not None else bytes(32 + 32 + 16) + prefix.ljust(155, b"\0")
    block = bytearray(
        name.ljust(100, b"\0") + field(mode, 8) + field(uid, 8) + field(gid, 8) + field(size, 12) + field(mtime, 12)
        + b" " * 8 + kind + link.ljust(100, b"\0") + magic + after
    )  # fmt: skip
    block = block.ljust(512, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    assert len(block) == 512
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes = b"file", content: bytes = b"", **fields: bytes | int) -> bytes:
    """A header and its content."""
    return header(name, size=len(content), **fields) + padded(content)  # type: ignore[arg-type]


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    """An extended header with these records."""
    return member(b"PaxHeaders/x", b"".join(record(key, value) for key, value in records), kind=kind)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def archive(*members: bytes) -> bytes:
    return b"".join(members) + END


def diff_id(tar: bytes) -> DiffID:
    return DiffID("sha256:" + hashlib.sha256(tar).hexdigest())


def chunks(data: bytes, size: int = 65536) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def tree_of(files: dict[str, bytes], *, mtime: int = 1_700_000_000, form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of files with the directories above them, by the standard library."""
    target = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=target, mode="w", format=form) as tar:
        for name, content in files.items():
            parts = name.split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in made:
                    made.add(folder)
                    info = tarfile.TarInfo(folder)
                    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, mtime
                    tar.addfile(info)
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)
