"""Compressed bytes to the layer's tar, with its digest.

isal inflates gzip three times as fast as zlib (docs/dev/decisions/002-isal.md).
"""

from __future__ import annotations

import hashlib

from estiba.errors import DataLoss, NotImplemented, ResourceExhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE = 1 << 18
#: What zstd(1) decompresses without --long or --ultra: 128 MiB of memory. A frame that asks for more is refused.
_ZSTD_WINDOW = 1 << 27
_ZSTD_STEP = 1 << 10

_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"))


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


def inflate(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """The uncompressed bytes in pieces of bounded size, whatever the compression claims to hold.

    Raises DataLoss for damaged or cut streams and for bytes after the last one.
    """
    source = iter(chunks)
    if compression == "detect":
        first = b""
        while len(first) < 6 and (chunk := next(source, None)) is not None:
            first += chunk
        compression = next((name for magic, name in _MAGIC if first.startswith(magic)), "none")
        source = _prepend(first, source)
    yield from {"none": _plain, "gzip": _gzip, "zstd": _zstd, "xz": _xz}[compression](source)


def _prepend(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _plain(source: Iterator[bytes]) -> Iterator[bytes]:
    return (bytes(chunk[start : start + _PIECE]) for chunk in source for start in range(0, len(chunk), _PIECE))


def _gzip(source: Iterator[bytes]) -> Iterator[bytes]:
    from isal import igzip_lib

    member: igzip_lib.IgzipDecompressor | None = None
    for chunk in source:
        while chunk or (member is not None and not member.eof and not member.needs_input):
            if member is None:
                member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            try:
                piece = member.decompress(chunk, _PIECE)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # the stub says that it is an exception, not a class
                raise DataLoss(f"cannot inflate layer: damaged gzip stream ({error})") from None
            chunk = b""
            if piece:
                yield piece
            if member.eof:
                chunk = member.unused_data  # a gzip file is one member or several (RFC 1952, section 2.2)
                member = None
    if member is not None:
        raise DataLoss("cannot inflate layer: the gzip stream is cut off")


def _zstd(source: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard

    frame: zstandard.ZstdDecompressionObj | None = None
    waiting: list[bytes] = []
    size = 0
    for chunk in source:
        rest = memoryview(chunk)
        while rest:
            # One call returns all that its input makes, up to 32,768 times as much: a KiB bounds that, and costs no time.
            part, rest = rest[:_ZSTD_STEP], rest[_ZSTD_STEP:]
            frame = frame or zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
            try:
                piece = frame.decompress(part)
            except zstandard.ZstdError as error:
                raise DataLoss(f"cannot inflate layer: damaged zstd stream ({error})") from None
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
        raise DataLoss("cannot inflate layer: the zstd stream is cut off")
    if size:
        yield b"".join(waiting)


def _xz(source: Iterator[bytes]) -> Iterator[bytes]:
    import lzma

    stream: lzma.LZMADecompressor | None = None
    for chunk in source:
        while chunk or (stream is not None and not stream.eof and not stream.needs_input):
            stream = stream or lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_ZSTD_WINDOW)
            try:
                piece = stream.decompress(chunk, _PIECE)
            except lzma.LZMAError as error:
                raise DataLoss(f"cannot inflate layer: damaged xz stream ({error})") from None
            chunk = b""
            if piece:
                yield piece
            if stream.eof:
                chunk, stream = stream.unused_data.lstrip(b"\0"), None  # stream padding
    if stream is not None:
        raise DataLoss("cannot inflate layer: the xz stream is cut off")


class Inflater:
    """The uncompressed archive, piece by piece, counted against a budget and hashed.

    Parameters: `chunks`, the compressed bytes; `budget`, the most bytes that may come out; `what`, the object for messages; `algorithm` of
    the digest.
    """

    def __init__(self, chunks: Iterable[bytes], compression: str, *, budget: int, what: str, algorithm: str = "sha256") -> None:
        self._pieces = inflate(chunks, compression)
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
