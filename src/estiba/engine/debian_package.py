"""User-Mode Linux in a Debian package: an ar(5) archive whose member data.tar holds the files (deb(5))."""

from __future__ import annotations

import io
from collections.abc import Iterator

from estiba.engine.kernel_modules import FOLDER, Module, wanted_modules
from estiba.errors import DataLoss, InvalidArgument
from estiba.machine.kernel_file import decompressed
from estiba.store.layers.tar import FILE, TarReader

_MAGIC = b"!<arch>\n"
_HEADER = 60
_PROGRAMS = ("./usr/bin/linux.uml", "./usr/bin/linux")


def is_package(data: bytes) -> bool:
    """Tells whether a file is a Debian package."""
    return data.startswith(_MAGIC + b"debian-binary")


def user_mode_linux(data: bytes, what: str) -> tuple[bytes, list[Module]]:
    """Returns the program of the package and the modules that a guest needs.

    Raises InvalidArgument where it holds none, DataLoss when it is damaged.
    """
    archive = next((content for name, content in _members(data, what) if name.startswith("data.tar")), None)
    files = _files(decompressed(archive, what), what) if archive is not None else {}
    program = next((files[name] for name in _PROGRAMS if name in files), None)
    if program is None:
        raise InvalidArgument(f"cannot use {what}: the package holds no User-Mode Linux")
    listing = next((name for name in files if name.endswith("/modules.dep")), None)
    if listing is None:
        return program, []
    folder = listing.removesuffix("modules.dep")
    return program, wanted_modules(files[listing].decode("utf-8", "replace"), lambda path: files.get(folder + path))


def _files(archive: bytes, what: str) -> dict[str, bytes]:
    reader = TarReader(io.BytesIO(archive).read, what=what)
    found = {}
    for entry in reader:
        name = entry.name.decode("utf-8", "replace")
        if entry.kind == FILE and (name in _PROGRAMS or name.startswith(f".{FOLDER}/")):
            found[name] = bytes(reader.content())
    return found


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
