"""The file `split` of a layer: what, together with the layer's files, is its exact tar.

A zstd stream of a line, then of records in the tar's order:

    1  u32 length, bytes                                                    bytes of the tar that are in no file: headers, padding
    2  u16 length, path, u32 member, u64 offset, u64 length, u32 CRC-32     bytes of the tar that are in a file of the layer
    0  u64 length of the tar

A path is beneath `fs/`; the content of a member that a later one replaced is in `kept/<member>` instead (`kept` of layer.json).
The CRC-32 names the file that is damaged; what decides is the digest of the whole tar, the DiffID.
"""

from __future__ import annotations

from struct import Struct

from estiba.errors import DataLoss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    Buffer = bytes | memoryview

_MAGIC = b"estiba-split 1\n"
_LITERAL = Struct("<BI")
_FILE = Struct("<BH")
_FILE_REST = Struct("<IQQI")
_END = Struct("<BQ")
_BATCH = 1 << 18
#: A literal record is at most this long, so that a reader's memory is bounded.
_LONGEST = 1 << 22


class SplitWriter:
    """Writes a split into an open file. `literal` and `file` in the tar's order, then `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._packer = zstandard.ZstdCompressor(level=2, write_checksum=True).compressobj()
        self._out: list[Buffer] = [_MAGIC]
        self._out_size = 0
        self._literals: list[Buffer] = []
        self._literal_size = 0
        self.size = 0

    def literal(self, data: Buffer) -> None:
        """The next bytes of the tar are these."""
        self._literals.append(data)
        self._literal_size += len(data)
        if self._literal_size >= _BATCH:
            self._end_literal()

    def file(self, path: bytes, member: int, offset: int, size: int, crc: int) -> None:
        """The next bytes of the tar are `size` bytes of a file from `offset` on."""
        if self._literals:
            self._end_literal()
        self._out += (_FILE.pack(2, len(path)), path, _FILE_REST.pack(member, offset, size, crc))
        self._out_size += len(path) + 27
        self.size += size
        if self._out_size >= _BATCH:
            self._write()

    def finish(self) -> None:
        """Ends the split; the caller syncs and closes the file."""
        if self._literals:
            self._end_literal()
        self._out.append(_END.pack(0, self.size))
        self._write()
        self._file.write(self._packer.flush())

    def _end_literal(self) -> None:
        size = self._literal_size
        if size <= _LONGEST:
            self._out += (_LITERAL.pack(1, size), *self._literals)
        else:
            data = b"".join(self._literals)
            for start in range(0, size, _LONGEST):
                piece = data[start : start + _LONGEST]
                self._out += (_LITERAL.pack(1, len(piece)), piece)
        self._out_size += size + 5
        self.size += size
        self._literals.clear()
        self._literal_size = 0
        if self._out_size >= _BATCH:
            self._write()

    def _write(self) -> None:
        packed = self._packer.compress(b"".join(self._out))
        self._out.clear()
        self._out_size = 0
        if packed:
            self._file.write(packed)


class Part:
    """A stretch of the tar that is in a file: `path` beneath fs/, the `member` it belongs to, `offset` and `size` in the file, CRC-32."""

    __slots__ = ("crc", "member", "offset", "path", "size")

    def __init__(self, path: bytes, member: int, offset: int, size: int, crc: int) -> None:
        self.path = path
        self.member = member
        self.offset = offset
        self.size = size
        self.crc = crc


def read_split(file: BinaryIO, what: str) -> Iterator[bytes | Part]:
    """The records of a split: bytes, or parts of files. Raises DataLoss for a damaged one; `what` is the object for messages."""
    import zstandard

    damaged = DataLoss(f"cannot read {what}: its split file is damaged")
    reader = zstandard.ZstdDecompressor().stream_reader(file)

    def take(size: int) -> bytes:
        data = reader.read(size)
        while len(data) < size:
            more = reader.read(size - len(data))
            if not more:
                raise damaged
            data += more
        return data

    total = 0
    try:
        if take(len(_MAGIC)) != _MAGIC:
            raise damaged
        while True:
            kind = take(1)
            if kind == b"\1":
                size = int.from_bytes(take(4), "little")
                if size > _LONGEST:
                    raise damaged
                total += size
                yield take(size)
            elif kind == b"\2":
                path = take(int.from_bytes(take(2), "little"))
                part = Part(path, *_FILE_REST.unpack(take(_FILE_REST.size)))
                total += part.size
                yield part
            else:
                # Reading to the end also compares the frame's checksum.
                if kind != b"\0" or int.from_bytes(take(8), "little") != total or reader.read(1):
                    raise damaged
                return
    except zstandard.ZstdError:
        raise damaged from None
