"""A kernel in a Debian package (linux-image-*, user-mode-linux): an ar(5) archive whose member data.tar holds the files (deb(5))."""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import zstandard

from estiba.engine.kernel_modules import GUEST, HARDWARE, Module, in_order, module_name, needs_of
from estiba.errors import DataLoss, InvalidArgument
from estiba.machine import kernel_file
from estiba.machine.kernel_file import KernelFile, decompressed
from estiba.store.layers.tar import FILE, TarReader

_MAGIC = b"!<arch>\n"
_HEADER = 60
_PIECE = 1 << 20
#: Bytes of all files of a package; those of Debian's largest kernels are a tenth of it.
_LIMIT = 8 << 30
_PROGRAMS = ("./usr/bin/linux.uml", "./usr/bin/linux")
_IMAGES = ("./boot/vmlinuz-", "./boot/vmlinux-")


def is_package(data: bytes) -> bool:
    """Tells whether a file is a Debian package."""
    return data.startswith(_MAGIC + b"debian-binary")


def kernel(data: bytes, what: str) -> KernelFile:
    """Returns the kernel of the package, with the modules that a guest needs.

    Raises InvalidArgument where it holds none, DataLoss when it is damaged.
    """
    members = dict(_members(data, what))
    name = next((name for name in members if name.startswith("data.tar")), None)
    if name is None:
        raise InvalidArgument(f"cannot use {what}: the package holds no files")
    program, needs = b"", dict[str, list[str]]()
    for path, content in _files(name, members[name], what):
        if path in _PROGRAMS or path.startswith(_IMAGES):
            program = content
        else:
            needs[module_name(path)] = needs_of(decompressed(content, what))
    if not program:
        raise InvalidArgument(f"cannot use {what}: the package holds no kernel", hint="linux-image-..., not what depends on it")
    found = kernel_file.inspect(program, what)
    found.modules = _modules(_files(name, members[name], what), in_order(GUEST, lambda name: needs.get(name, ())), what)
    wanted = [each for each in in_order(HARDWARE, lambda name: needs.get(name, ())) if each not in dict(found.modules)]
    if found.kind != kernel_file.UML:
        found.drivers = _modules(_files(name, members[name], what), wanted, what)
    return found


def _modules(files: Iterable[tuple[str, bytes]], order: list[str], what: str) -> list[Module]:
    found = {module_name(path): decompressed(content, what) for path, content in files if module_name(path) in order}
    return [(name, found[name]) for name in order if name in found]


def _files(name: str, archive: bytes, what: str) -> Iterator[tuple[str, bytes]]:
    """The kernel and all modules. An archive holds hundreds of megabytes of them: they are read again rather than kept."""
    try:
        pieces = _pieces(_opened(name, archive), what)
        reader = TarReader(lambda: next(pieces, b""), what=what)
        for entry in reader:
            path = entry.name.decode("utf-8", "replace")
            if entry.kind == FILE and (path in _PROGRAMS or path.startswith(_IMAGES) or module_name(path)):
                if entry.size > kernel_file.LIMIT:
                    raise InvalidArgument(f"cannot use {what}: its file {path} is larger than {kernel_file.LIMIT >> 20} MiB")
                yield path, bytes(reader.content())
    except (lzma.LZMAError, zstandard.ZstdError, OSError, EOFError) as error:
        raise DataLoss(f"cannot use {what}: its compression is damaged: {error}") from None


def _pieces(stream: BinaryIO, what: str) -> Iterator[bytes]:
    left = _LIMIT
    while piece := stream.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise InvalidArgument(f"cannot use {what}: its files are larger than {_LIMIT >> 30} GiB")
        yield piece


def _opened(name: str, archive: bytes) -> BinaryIO:
    file = io.BytesIO(archive)
    if name.endswith(".xz"):
        return cast(BinaryIO, lzma.open(file))
    if name.endswith(".gz"):
        return cast(BinaryIO, gzip.open(file))
    if name.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(file)
    return file


def _members(data: bytes, what: str) -> Iterator[tuple[str, bytes]]:
    at = len(_MAGIC)
    while at < len(data):
        header = data[at : at + _HEADER]
        size = header[48:58].strip(b" ")
        if len(header) < _HEADER or header[58:] != b"`\n" or not size.isdigit():
            raise DataLoss(f"cannot use {what}: the package is damaged (offset {at})")
        at += _HEADER
        end = at + int(size)
        if end > len(data):
            raise DataLoss(f"cannot use {what}: the package is cut short")
        yield header[:16].decode("ascii", "replace").strip(" /"), data[at:end]
        at = end + end % 2
