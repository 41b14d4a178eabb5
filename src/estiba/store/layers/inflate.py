"""Compressed bytes to plain ones: layers to their tars, with the digest, and whole archives.

isal inflates gzip three times as fast as zlib (docs/dev/decisions/002-isal.md).
"""

from __future__ import annotations

import hashlib

from estiba.errors import DataLoss, NotImplemented, ResourceExhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    class _Decompressor(Protocol):
        """The interface of `bz2.BZ2Decompressor`, which lzma and isal share."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...

_PIECE = 1 << 18
#: What zstd(1) decompresses without --long or --ultra: 128 MiB of memory. A stream that asks for more is refused; `xz -9` needs 65 MiB.
_MEMORY = 1 << 27
_ZSTD_STEP = 1 << 10

_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"))


def compression_of(media_type: str) -> str:
    """The compression that a layer's media type names: "gzip", "zstd", "none", or "detect" for the empty string.

    Raises NotImplemented for a type that is not a layer's.
    """
    table = {
        "": "detect",
        "application/vnd.oci.image.layer.v1.tar": "none",
        "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
        "application/vnd.docker.image.rootfs.diff.tar": "none",
        "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
    }
    try:
        return table[media_type]
    except KeyError:
        raise NotImplemented(f"cannot unpack layer: unknown media type {media_type!r}") from None


def detect(start: bytes) -> str:
    """The compression that the first six bytes of a stream show: "gzip", "bzip2", "xz", "zstd", or "none" for anything else."""
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "none")


def inflate(chunks: Iterable[bytes], compression: str, *, what: str = "inflate layer", padding: bool = False) -> Iterator[bytes]:
    """The uncompressed bytes in pieces of bounded size, whatever the compression claims to hold. Several streams or frames after one
    another are one, as the tools of each format do.

    Parameters: `what`, verb and object for messages; `padding` allows zeros behind a stream (xz has them always).
    Raises DataLoss for damaged or cut streams and for bytes after the last one.
    """
    source = iter(chunks)
    if compression == "detect":
        first = b""
        while len(first) < 6 and (chunk := next(source, None)) is not None:
            first += chunk
        compression = detect(first)
        source = _prepend(first, source)
    if compression == "none":
        yield from _plain(source)
    elif compression == "zstd":
        yield from _zstd(source, what)
    else:
        yield from _streams(source, compression, what, padding=padding or compression == "xz")


def _prepend(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _plain(source: Iterator[bytes]) -> Iterator[bytes]:
    return (bytes(chunk[start : start + _PIECE]) for chunk in source for start in range(0, len(chunk), _PIECE))


def _maker(name: str) -> tuple[Callable[[], _Decompressor], tuple[type[Exception], ...]]:
    """What makes a decompressor, and what that raises for damage."""
    if name == "gzip":
        from isal import igzip_lib

        damage: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # the stub says that it is an exception, not a class
        return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), (damage,)
    if name == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY), (lzma.LZMAError,)
    import bz2

    return bz2.BZ2Decompressor, (OSError, ValueError)


def _streams(source: Iterator[bytes], name: str, what: str, *, padding: bool) -> Iterator[bytes]:
    make, damage = _maker(name)
    stream: _Decompressor | None = None
    ended = False
    for chunk in source:
        if ended and padding:
            chunk = chunk.lstrip(b"\0")
        while chunk or (stream is not None and not stream.needs_input):
            stream = stream or make()
            ended = False
            try:
                piece = stream.decompress(chunk, _PIECE)
            except damage as error:
                raise DataLoss(f"cannot {what}: damaged {name} stream ({error})") from None
            chunk = b""
            if piece:
                yield piece
            if stream.eof:
                chunk = stream.unused_data.lstrip(b"\0") if padding else stream.unused_data
                stream, ended = None, True
    if stream is not None:
        raise DataLoss(f"cannot {what}: the {name} stream is cut short")


def _zstd(source: Iterator[bytes], what: str) -> Iterator[bytes]:
    import zstandard

    frame: zstandard.ZstdDecompressionObj | None = None
    waiting: list[bytes] = []
    size = 0
    for chunk in source:
        rest = memoryview(chunk)
        while rest:
            # One call returns all that its input makes, up to 32,768 times as much: a KiB bounds that, and costs no time.
            part, rest = rest[:_ZSTD_STEP], rest[_ZSTD_STEP:]
            frame = frame or zstandard.ZstdDecompressor(max_window_size=_MEMORY).decompressobj()
            try:
                piece = frame.decompress(part)
            except zstandard.ZstdError as error:
                raise DataLoss(f"cannot {what}: damaged zstd stream ({error})") from None
            waiting.append(piece)
            size += len(piece)
            if frame.eof:  # one frame or several, some of them skippable (RFC 8878, section 3.1)
                rest = memoryview(frame.unused_data + bytes(rest))
                frame = None
            if size >= _PIECE:
                yield from _plain(iter([b"".join(waiting)]))
                waiting.clear()
                size = 0
    if frame is not None:
        raise DataLoss(f"cannot {what}: the zstd stream is cut short")
    if size:
        yield b"".join(waiting)


class Inflater:
    """The uncompressed archive, piece by piece, counted against a budget and hashed.

    Parameters: `chunks`, the compressed bytes; `budget`, the most bytes that may come out; `what`, the object for messages; `algorithm` of
    the digest.
    """

    def __init__(self, chunks: Iterable[bytes], compression: str, *, budget: int, what: str, algorithm: str = "sha256") -> None:
        self._pieces = inflate(chunks, compression, what=what)
        self._hash = hashlib.new(algorithm)
        self._what = what
        self._budget = budget
        self.size = 0

    def read(self) -> bytes:
        """The next piece, empty at the end. Raises what `inflate` and the source raise, and ResourceExhausted beyond the budget."""
        piece = next(self._pieces, b"")
        self.size += len(piece)
        if self.size > self._budget:
            raise ResourceExhausted(
                f"cannot {self._what}: it is larger than {self._budget} bytes",
                hint="raise unpack-max-bytes in the configuration if you trust the image",
            )
        self._hash.update(piece)
        return piece

    def finish(self) -> str:
        """Reads to the end (the source is verified then) and returns the digest of all that came out."""
        if self.read():
            raise DataLoss(f"cannot {self._what}: data after the end of the archive")
        return f"{self._hash.name}:{self._hash.hexdigest()}"
