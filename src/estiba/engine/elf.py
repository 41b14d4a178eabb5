"""Reads what the dynamic linker would read of an ELF file: interpreter, needed libraries and search paths.

Sources: elf(5), the System V gABI (program header, dynamic section), ld.so(8) for the search order, and glibc's
`sysdeps/generic/dl-cache.h` for the layout of ld.so.cache. Nothing is executed or mapped; every offset is checked
against the bytes that are there, so a damaged file gives DataLoss and never an IndexError.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from estiba.errors import DataLoss

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 15, 29

# e_machine (elf.h) to the OCI architecture (Go's GOARCH), by class and byte order: (machine, bits, little endian).
ARCHITECTURES = {
    (62, 64, True): "amd64",
    (183, 64, True): "arm64",
    (3, 32, True): "386",
    (40, 32, True): "arm",
    (243, 64, True): "riscv64",
    (21, 64, True): "ppc64le",
    (22, 64, False): "s390x",
    (258, 64, True): "loong64",
}


@dataclass(frozen=True)
class Elf:
    """One ELF file: what its loader needs to know.

    `kind` is (e_machine, bits, little endian): only files of one kind can be loaded together. `interpreter` is None for
    static programs and for libraries. Paths are as written in the file, `$ORIGIN` included.
    """

    kind: tuple[int, int, bool]
    interpreter: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    architecture: str = field(default="")


def is_elf(data: bytes) -> bool:
    """True when `data`, the start of a file, has the ELF magic number."""
    return data[:4] == b"\x7fELF"


def parse_elf(data: bytes, what: str) -> Elf:
    """Reads an ELF file's bytes; `what` names it in errors. Raises DataLoss when it is not a whole ELF file."""
    try:
        return _parse(data, what)
    except (struct.error, OverflowError) as error:
        raise DataLoss(f"cannot read {what}: its ELF headers point outside the file") from error


def _parse(data: bytes, what: str) -> Elf:
    if not is_elf(data) or len(data) < 20 or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise DataLoss(f"cannot read {what}: not an ELF file")
    bits, little = (32, 64)[data[4] - 1], data[5] == 1
    order = "<" if little else ">"
    (machine,) = struct.unpack_from(order + "H", data, 18)
    headers = list(_program_headers(data, bits, order))
    interpreter = None
    dynamic: dict[int, list[int]] = {}
    for kind, offset, _, size in headers:
        if kind == PT_INTERP:
            interpreter = _slice(data, offset, size, what).rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind == PT_DYNAMIC:
            dynamic = _dynamic(_slice(data, offset, size, what), bits, order)
    strings = _string_table(data, dynamic, headers, what)

    def texts(tag: int) -> tuple[str, ...]:
        return tuple(_string(strings, at, what) for at in dynamic.get(tag, ()))

    def paths(tag: int) -> tuple[str, ...]:
        return tuple(part for text in texts(tag) for part in text.split(":") if part)

    kind_of_file = (machine, bits, little)
    return Elf(
        kind_of_file, interpreter, texts(DT_NEEDED), paths(DT_RPATH), paths(DT_RUNPATH),
        ARCHITECTURES.get(kind_of_file, ""),
    )  # fmt: skip


def _program_headers(data: bytes, bits: int, order: str) -> Iterator[tuple[int, int, int, int]]:
    """(type, file offset, virtual address, size in the file) of each program header."""
    if bits == 64:
        (table,) = struct.unpack_from(order + "Q", data, 32)
        size, count = struct.unpack_from(order + "HH", data, 54)
    else:
        (table,) = struct.unpack_from(order + "I", data, 28)
        size, count = struct.unpack_from(order + "HH", data, 42)
    for number in range(count):
        at = table + number * size
        if bits == 64:
            kind, _, offset, address, _, in_file = struct.unpack_from(order + "IIQQQQ", data, at)
        else:
            kind, offset, address, _, in_file = struct.unpack_from(order + "IIIII", data, at)
        yield kind, offset, address, in_file


def _dynamic(section: bytes, bits: int, order: str) -> dict[int, list[int]]:
    entry = order + ("QQ" if bits == 64 else "II")
    tags: dict[int, list[int]] = {}
    whole = len(section) - len(section) % struct.calcsize(entry)
    for tag, value in struct.iter_unpack(entry, section[:whole]):
        if tag == DT_NULL:
            break
        tags.setdefault(tag, []).append(value)
    return tags


def _string_table(data: bytes, dynamic: dict[int, list[int]], headers: list[tuple[int, int, int, int]], what: str) -> bytes:
    """The dynamic string table. DT_STRTAB is an address: the loadable segment that holds it gives the offset."""
    if DT_STRTAB not in dynamic:
        return b""
    address, size = dynamic[DT_STRTAB][0], dynamic.get(DT_STRSZ, [0])[0]
    for kind, offset, start, in_file in headers:
        if kind == PT_LOAD and start <= address < start + in_file:
            return _slice(data, offset + address - start, size, what)
    raise DataLoss(f"cannot read {what}: its dynamic string table is in no segment")


def _slice(data: bytes, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(data):
        raise DataLoss(f"cannot read {what}: the ELF file is cut short")
    return data[offset : offset + size]


def _string(table: bytes, at: int, what: str) -> str:
    end = table.find(b"\0", at)
    if at >= len(table) or end < 0:
        raise DataLoss(f"cannot read {what}: a name lies outside the dynamic string table")
    return table[at:end].decode("utf-8", "surrogateescape")


# glibc's dl-cache.h: struct cache_file_new is 48 bytes, struct file_entry_new 24.
CACHE_MAGIC = b"glibc-ld.so.cache1.1"
CACHE_HEADER, CACHE_ENTRY = 48, "=iIIIQ"


def parse_cache(data: bytes) -> dict[str, list[str]]:
    """Maps the names in an ld.so.cache to their paths, generic builds before those for newer processors.

    A cache of another format gives an empty map: the default directories are searched then, as ld.so does.
    """
    start = data.find(CACHE_MAGIC)
    if start < 0 or len(data) < start + CACHE_HEADER:
        return {}
    (count,) = struct.unpack_from("=I", data, start + len(CACHE_MAGIC))
    found: dict[str, list[tuple[int, str]]] = {}
    for number in range(count):
        at = start + CACHE_HEADER + number * struct.calcsize(CACHE_ENTRY)
        if at + struct.calcsize(CACHE_ENTRY) > len(data):
            return {}
        _, key, value, _, capabilities = struct.unpack_from(CACHE_ENTRY, data, at)
        name, path = _cache_string(data, start + key), _cache_string(data, start + value)
        found.setdefault(name, []).append((capabilities, path))
    return {name: [path for _, path in sorted(paths, key=lambda each: each[0] != 0)] for name, paths in found.items()}


def select_from_cache(data: bytes, keep: set[tuple[str, str]]) -> bytes:
    """An ld.so.cache that names only the (name, path) pairs of `keep`, in the order of `data` (ld.so searches by halving).

    Entries for newer processors are left out: their extension section is not copied. Empty when nothing is kept.
    """
    start = data.find(CACHE_MAGIC)
    kept = []
    if start >= 0 and parse_cache(data):
        (count,) = struct.unpack_from("=I", data, start + len(CACHE_MAGIC))
        for number in range(count):
            entry = struct.unpack_from(CACHE_ENTRY, data, start + CACHE_HEADER + number * struct.calcsize(CACHE_ENTRY))
            name, path = _cache_string(data, start + entry[1]), _cache_string(data, start + entry[2])
            if entry[4] == 0 and (name, path) in keep:
                kept.append((entry[0], name, path, entry[3]))
    if not kept:
        return b""
    strings_at = CACHE_HEADER + len(kept) * struct.calcsize(CACHE_ENTRY)
    entries, strings = b"", b""
    for flags, name, path, version in kept:
        at = strings_at + len(strings)
        strings += os.fsencode(name) + b"\0"
        entries += struct.pack(CACHE_ENTRY, flags, at, strings_at + len(strings), version, 0)
        strings += os.fsencode(path) + b"\0"
    byte_order = data[start + 28 : start + 29]
    header = CACHE_MAGIC + struct.pack("=II", len(kept), len(strings)) + byte_order
    return header.ljust(CACHE_HEADER, b"\0") + entries + strings


def _cache_string(data: bytes, at: int) -> str:
    end = data.find(b"\0", at)
    return os.fsdecode(data[at : end if end >= 0 else at])
