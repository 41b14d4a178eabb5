"""Recognises and undoes the compression of a whole archive: gzip, bzip2, xz, zstd, by the magic number at its start.

Output comes in pieces of bounded size, several streams or frames after one another are one (as the tools of each format do),
a cut stream is an error, and a budget stops a bomb. Layers of a manifest name their compression and are not read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from estiba.errors import DataLoss, ResourceExhausted

PIECE = 1 << 20
MEMORY = 256 << 20  # bytes for xz's dictionary: `xz -9` needs 65 MiB
WINDOW = 128 << 20  # bytes: what `zstd` itself accepts without --long
ZSTD_INPUT = 1024  # bytes at a time: a block of 4 bytes may stand for 128 KiB, and decompressobj() has no limit of its own


class _Decompressor(Protocol):
    """The interface of `bz2.BZ2Decompressor`, which lzma and isal share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def compression_of(start: bytes) -> str:
    """`gzip`, `bzip2`, `xz`, `zstd`, or "" for anything else; `start` is the first bytes of an archive (six are enough)."""
    for magic, name in ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if start.startswith(magic):
            return name
    return ""


def inflate(chunks: Iterable[bytes], what: str, budget: int) -> Iterator[bytes]:
    """The plain bytes of an archive.

    Parameters: `what`, the archive's name in messages; `budget`, how many bytes may come out. Raises DataLoss for damage,
    ResourceExhausted beyond the budget.
    """
    total = 0
    for piece in _plain(iter(chunks), what):
        total += len(piece)
        if total > budget:
            raise ResourceExhausted(
                f"cannot read {what}: it holds more than {budget} bytes", hint="raise unpack_max_bytes in the configuration"
            )
        yield piece


def _plain(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= 6:
            break
    name = compression_of(start)
    if not name:
        if start:
            yield start
        yield from chunks
        return
    if name == "zstd":
        yield from _zstd(_joined(start, chunks), what)
    else:
        yield from _streams(_joined(start, chunks), what, name)


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _maker(name: str) -> Callable[[], _Decompressor]:
    if name == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
    if name == "bzip2":
        import bz2

        return bz2.BZ2Decompressor
    from isal import igzip_lib

    return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _streams(chunks: Iterator[bytes], what: str, name: str) -> Iterator[bytes]:
    """Streams one after another; zeros behind the last one are padding, anything else is damage."""
    make = _maker(name)
    one, data = make(), b""
    try:
        while True:
            if one.eof:
                data = one.unused_data or data
                while not data.strip(b"\0"):
                    following = next(chunks, b"")
                    if not following:
                        return
                    data = following
                one, data = make(), data.lstrip(b"\0")
            elif one.needs_input and not data:
                data = next(chunks, b"")
                if not data:
                    raise DataLoss(f"cannot read {what}: the {name} stream is cut short")
            piece = one.decompress(data, PIECE)
            data = b""
            if piece:
                yield piece
    except (OSError, EOFError, ValueError, _error(name)) as error:
        raise DataLoss(f"cannot read {what}: damaged {name} stream ({error})") from error


def _error(name: str) -> type[Exception]:
    if name == "xz":
        import lzma

        return lzma.LZMAError
    if name == "gzip":
        from isal import igzip_lib

        return igzip_lib.IsalError  # type: ignore[return-value]  # the stub says that it is an exception, not a class
    return OSError


def _zstd(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    frame, within = decompressor.decompressobj(), True
    try:
        for chunk in chunks:
            at = 0
            while at < len(chunk):
                if not within:
                    frame, within = decompressor.decompressobj(), True
                given = chunk[at : at + ZSTD_INPUT]
                piece = frame.decompress(given)
                at += len(given) - (len(frame.unused_data) if frame.eof else 0)
                within = not frame.eof
                if piece:
                    yield piece
    except zstandard.ZstdError as error:
        raise DataLoss(f"cannot read {what}: damaged zstd stream ({error})") from error
    if within:
        raise DataLoss(f"cannot read {what}: the zstd stream is cut short")
