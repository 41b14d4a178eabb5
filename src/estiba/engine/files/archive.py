"""Tar as sink and as source (POSIX.1-2017 pax(1); GNU tar manual, "Storing Sparse Files", format 1.0)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from estiba.engine.files.entries import Buffer, Source, nothing, stretches
from estiba.engine.tar_writer import BLOCK, END
from estiba.store.layers import tar
from estiba.store.layers.tar import Entry, TarReader

_NAME, _PREFIX = 100, 155
#: Holes that do not make a member shorter by at least this much are written as zeros, which every reader knows.
_WORTH = 1 << 16
_LARGEST = 0o77777777777
_MAX_ID = 0o7777777
_PIECE = 1 << 18


def archive(source: Source) -> Iterator[bytes]:
    """The archive of a source, in pieces. Times are whole seconds, as Docker writes them."""
    waiting: list[Buffer] = []
    size = 0
    for piece in _members(source):
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join([*waiting, END])


def _members(source: Source) -> Iterator[Buffer]:
    for entry, take in source:
        if entry.kind != tar.FILE:
            yield member_header(entry, 0)
            continue
        parts = stretches(entry)
        stored = sum(length for _, length in parts)
        if entry.real_size - stored >= _WORTH and _is_aligned(parts, entry.real_size):
            yield from _sparse(entry, parts, stored)
            for _, length in parts:
                yield from take(length)
            yield bytes(-stored % BLOCK)
            continue
        yield member_header(entry, entry.real_size)
        at = 0
        for offset, length in parts:
            yield from _zeros(offset - at)
            yield from take(length)
            at = offset + length
        yield from _zeros(entry.real_size - at)
        yield bytes(-entry.real_size % BLOCK)


def _is_aligned(parts: list[tuple[int, int]], size: int) -> bool:
    """Whether every part ends with a block or with the file: GNU tar reads each from a new block on."""
    return all(length % BLOCK == 0 or offset + length == size for offset, length in parts)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _PIECE))
        count -= _PIECE


def _sparse(entry: Entry, parts: list[tuple[int, int]], stored: int) -> Iterator[bytes]:
    """The map stands before the content, in whole blocks. A last part of length 0 says where the file ends."""
    every = parts if parts and sum(parts[-1]) == entry.real_size else [*parts, (entry.real_size, 0)]
    numbers = [len(every), *(number for part in every for number in part)]
    text = b"".join(b"%d\n" % number for number in numbers)
    text += bytes(-len(text) % BLOCK)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", entry.name),
        (b"GNU.sparse.realsize", b"%d" % entry.real_size),
    ]
    yield member_header(entry, len(text) + stored, records) + text


def member_header(entry: Entry, size: int, records: list[tuple[bytes, bytes]] | None = None) -> bytes:
    """The header of a member with `size` bytes of content, preceded by a pax header where a field needs one or `records` are given."""
    extended = list(records or ())
    name = entry.name + b"/" if entry.kind == tar.DIRECTORY and entry.name[-1:] != b"/" else entry.name
    short, prefix = _split(name)
    if short is None or not name.isascii():
        extended.append((b"path", name))
        short, prefix = name[:_NAME], b""
    link = entry.link
    if len(link) > _NAME or not link.isascii():
        extended.append((b"linkpath", link))
        link = link[:_NAME]
    numbers = {b"uid": entry.uid, b"gid": entry.gid, b"size": size, b"mtime": entry.mtime}
    for key, value in numbers.items():
        if not 0 <= value <= (_MAX_ID if key in (b"uid", b"gid") else _LARGEST):
            extended.append((key, b"%d" % value))
            numbers[key] = 0
    extended += [(b"SCHILY.xattr." + key, value) for key, value in sorted((entry.xattrs or {}).items())]
    return _pax(extended) + _block(short, entry.mode, tuple(numbers.values()), entry.kind, link, prefix)


def _split(name: bytes) -> tuple[bytes | None, bytes]:
    """The name and prefix fields, None where they cannot hold it."""
    if len(name) <= _NAME:
        return name, b""
    at = name.find(b"/", len(name) - _NAME - 1)
    if 0 < at <= _PREFIX and len(name) > at + 1:
        return name[at + 1 :], name[:at]
    return None, b""


def _block(name: bytes, mode: int, numbers: tuple[int, ...], kind: int, link: bytes, prefix: bytes) -> bytes:
    """A header; `numbers` are uid, gid, size and mtime."""
    widths = (7, 7, 11, 11)
    fields = b"".join(b"%0*o\0" % (width, number) for width, number in zip(widths, numbers, strict=True))
    head = name.ljust(_NAME, b"\0") + b"%07o\0" % mode + fields
    tail = bytes((kind,)) + link.ljust(100, b"\0") + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + prefix.ljust(_PREFIX, b"\0")
    checksum = sum(head) + sum(tail) + 8 * ord(" ")
    return (head + b"%06o\0 " % checksum + tail).ljust(BLOCK, b"\0")


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    if not records:
        return b""
    if any(key in (b"path", b"linkpath", b"GNU.sparse.name") and not _is_text(value) for key, value in records):
        records = [(b"hdrcharset", b"BINARY"), *records]
    body = b"".join(_record(key, value) for key, value in records)
    return _block(b"PaxHeaders/entry", 0o644, (0, 0, len(body), 0), ord("x"), b"", b"") + body + bytes(-len(body) % BLOCK)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value` and newline, where the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


# --- reading ---------------------------------------------------------------------------------------------------------------


def members(stream: BinaryIO, what: str) -> Source:
    """The members of an archive. Raises DataLoss, NotImplemented."""
    reader = TarReader(lambda: _read(stream), what=what)
    for entry in reader:
        yield entry, reader.chunks if entry.kind == tar.FILE else nothing


def _read(stream: BinaryIO) -> bytes:
    return stream.read1(_PIECE) if isinstance(stream, io.BufferedReader) else stream.read(_PIECE)
