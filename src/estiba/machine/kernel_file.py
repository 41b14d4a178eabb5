"""Which kernel a file is: a User-Mode Linux program, vmlinux, bzImage or arm64's Image, plain or compressed. Not on the start path."""

from __future__ import annotations

import re
import struct
import zlib
from typing import BinaryIO

from estiba.errors import DataLoss, InvalidArgument, NotImplemented

#: Bytes of a kernel, decompressed; Debian's largest is a fifth of it.
LIMIT = 512 << 20
_PIECE = 1 << 20
UML, VMLINUX, BZIMAGE, ARM64_IMAGE = "uml", "vmlinux", "bzimage", "image"

_BANNER = re.compile(rb"Linux version ([0-9][!-~]{0,63}) ", re.ASCII)
_MACHINES = {62: "amd64", 183: "arm64"}  # e_machine (elf.h)
_KERNEL_SPACE = 1 << 63
_PT_LOAD = 1


class KernelFile:
    """A kernel: `kind`, `architecture` (OCI's name), `release` (uname -r, empty where the file does not say it), its `data`, the
    `modules` that every guest loads, (name, content) in their order, and the `drivers`, which one on hardware loads after them.
    """

    __slots__ = ("architecture", "data", "drivers", "kind", "modules", "release")

    def __init__(self, kind: str, architecture: str, release: str, data: bytes) -> None:
        self.kind = kind
        self.architecture = architecture
        self.release = release
        self.data = data
        self.modules: list[tuple[str, bytes]] = []
        self.drivers: list[tuple[str, bytes]] = []


def inspect(data: bytes, what: str) -> KernelFile:
    """Reads a kernel's bytes; `what` names it in errors. Raises InvalidArgument when it is none, DataLoss when it is damaged."""
    data = decompressed(data, what)
    if data[:4] == b"\x7fELF":
        return _elf(data, what)
    if data[0x202:0x206] == b"HdrS":
        return KernelFile(BZIMAGE, "amd64", _bzimage_release(data, what), data)
    if data[56:60] == b"ARM\x64":
        return KernelFile(ARM64_IMAGE, "arm64", _banner(data), data)
    raise InvalidArgument(
        f"cannot use {what}: it is no kernel", hint="a User-Mode Linux program, vmlinux, bzImage or Image, plain or compressed"
    )


def _elf(data: bytes, what: str) -> KernelFile:
    try:
        machine = struct.unpack_from("<H", data, 18)[0]
        addresses = _load_addresses(data)
    except (struct.error, OverflowError):
        raise DataLoss(f"cannot use {what}: its ELF headers point outside the file") from None
    architecture = _MACHINES.get(machine, "")
    if data[4:6] != b"\x02\x01" or not architecture or not addresses:
        raise InvalidArgument(f"cannot use {what}: an ELF file of another machine than amd64 and arm64 (ELF machine {machine})")
    if max(addresses) >= _KERNEL_SPACE:
        return KernelFile(VMLINUX, architecture, _banner(data), data)
    if b"uml_dir=" not in data:
        raise InvalidArgument(f"cannot use {what}: it is a program, but not User-Mode Linux")
    return KernelFile(UML, architecture, _banner(data), data)


def _load_addresses(data: bytes) -> list[int]:
    """The virtual addresses of what is loaded; raises struct.error where a segment lies outside the file."""
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    addresses = []
    for number in range(count):
        kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", data, table + number * size)
        if kind == _PT_LOAD:
            if offset + in_file > len(data):
                raise struct.error
            addresses.append(address)
    return addresses


def _banner(data: bytes) -> str:
    found = _BANNER.search(data)
    return found[1].decode("ascii") if found else ""


def _bzimage_release(data: bytes, what: str) -> str:
    """Documentation/arch/x86/boot.rst, kernel_version: a pointer to text, 0x200 short."""
    if len(data) < 0x210:
        raise DataLoss(f"cannot use {what}: it is cut short")
    (pointer,) = struct.unpack_from("<H", data, 0x20E)
    text = data[pointer + 0x200 : pointer + 0x200 + 64]
    return text.split(b" ")[0].split(b"\0")[0].decode("ascii", "replace") if pointer else ""


# --- compressed files ----------------------------------------------------------------------------------------------------


def decompressed(data: bytes, what: str) -> bytes:
    """The file's content, itself where it is not compressed. Raises DataLoss, NotImplemented, InvalidArgument beyond `LIMIT`."""
    try:
        plain = _decompress(data, what)
    except (zlib.error, OSError, EOFError, ValueError) as error:
        raise DataLoss(f"cannot use {what}: its compression is damaged: {error}") from None
    if len(plain) > LIMIT:
        raise InvalidArgument(f"cannot use {what}: it is larger than {LIMIT >> 20} MiB")
    return plain


def _decompress(data: bytes, what: str) -> bytes:
    if data[:2] == b"\x1f\x8b":
        return _whole(zlib.decompressobj(31), data)
    if data[:6] == b"\xfd7zXZ\0":
        import lzma

        try:
            return _whole(lzma.LZMADecompressor(), data)
        except lzma.LZMAError as error:
            raise ValueError(str(error)) from None
    if data[:3] == b"BZh":
        import bz2

        return _whole(bz2.BZ2Decompressor(), data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        import zstandard

        try:
            return _limited(zstandard.ZstdDecompressor().stream_reader(data))
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
    if data[:4] in (b"\x02\x21\x4c\x18", b"\x04\x22\x4d\x18"):
        raise NotImplemented(f"cannot use {what}: it is compressed with LZ4", hint="decompress it first: lz4 -d FILE")
    return data


def _limited(stream: BinaryIO) -> bytes:
    """What a stream holds, but no more than one byte above `LIMIT`."""
    parts, size = [], 0
    while size <= LIMIT and (piece := stream.read(min(_PIECE, LIMIT + 1 - size))):
        parts.append(piece)
        size += len(piece)
    return b"".join(parts)


def _whole(stream: object, data: bytes) -> bytes:
    plain: bytes = stream.decompress(data, LIMIT + 1)  # type: ignore[attr-defined]  # one interface of three modules
    if not stream.eof and len(plain) <= LIMIT:  # type: ignore[attr-defined]  # the same
        raise EOFError("it is cut short")
    return plain
