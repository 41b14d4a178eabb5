"""Which kernel a file is, and what a damaged one is told."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from estiba.engine import debian_package
from estiba.engine.debian_package import is_package, kernel
from estiba.engine.kernel_modules import in_order, module_name, needs_of
from estiba.errors import DataLoss, EstibaError, InvalidArgument, NotImplemented
from estiba.machine import kernel_file
from tests.support.tars import END, member

if TYPE_CHECKING:
    from collections.abc import Callable

BANNER = b"Linux version 6.1.2-test (someone@somewhere) #1"


def elf(address: int, *, machine: int = 62, content: bytes = b"", size: int | None = None) -> bytes:
    """One loadable segment at `address`, holding `content`."""
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, address, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, address, address, len(content) if size is None else size, len(content), 4096)
    return header + segment + content


UML = elf(0x60000000, content=b"uml_dir=\0" + BANNER)
VMLINUX = elf(0xFFFFFFFF81000000, content=BANNER)
BZIMAGE = (bytes(0x202) + b"HdrS" + bytes(8) + struct.pack("<H", 0x100)).ljust(0x300, b"\0") + b"5.9.9 (x@y)\0"
ARM64 = (bytes(56) + b"ARM\x64").ljust(200, b"\0") + BANNER


@pytest.mark.parametrize(
    ("data", "kind", "architecture", "release"),
    [
        (UML, "uml", "amd64", "6.1.2-test"),
        (VMLINUX, "vmlinux", "amd64", "6.1.2-test"),
        (BZIMAGE, "bzimage", "amd64", "5.9.9"),
        (ARM64, "image", "arm64", "6.1.2-test"),
        (elf(0xFFFF800010000000, machine=183), "vmlinux", "arm64", ""),
    ],
)
def test_kinds(data: bytes, kind: str, architecture: str, release: str) -> None:
    found = kernel_file.inspect(data, "a file")
    assert (found.kind, found.architecture, found.release, found.data) == (kind, architecture, release, data)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress])
def test_compressed(compress: Callable[[bytes], bytes]) -> None:
    data = compress(UML)
    assert kernel_file.inspect(data, "a file").data == UML
    for broken in (data[: len(data) // 2], data[:20] + bytes(8) + data[28:]):
        with pytest.raises(EstibaError, match="a file") as caught:
            kernel_file.inspect(broken, "a file")
        assert isinstance(caught.value, (DataLoss, InvalidArgument))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", InvalidArgument, "it is no kernel"),
        (b"#!/bin/sh\n", InvalidArgument, "it is no kernel"),
        (elf(0x400000, content=b"a program"), InvalidArgument, "not User-Mode Linux"),
        (elf(0x60000000, machine=8, content=b"uml_dir="), InvalidArgument, "another machine"),
        (elf(0x60000000, content=b"uml_dir=", size=1 << 40), DataLoss, "outside the file"),
        (UML[:32] + b"\xff" * 100, DataLoss, "outside the file"),
        (UML[:100], DataLoss, "outside the file"),
        (BZIMAGE[:0x206], DataLoss, "cut short"),
        (b"\x04\x22\x4d\x18" + bytes(20), NotImplemented, "LZ4"),
    ],
)
def test_what_is_no_kernel(data: bytes, error: type[EstibaError], words: str) -> None:
    with pytest.raises(error, match=words):
        kernel_file.inspect(data, "a file")


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress])
def test_no_more_is_decompressed_than_a_kernel_can_have(compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = compress(bytes(64 << 20))
    monkeypatch.setattr(kernel_file, "LIMIT", 1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match="it is larger than 1 MiB"):
            kernel_file.inspect(bomb, "a file")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert len(kernel_file.decompressed(compress(bytes(1 << 20)), "a file")) == 1 << 20, "the twin"


@given(st.binary(max_size=2000), st.sampled_from([b"", UML[:64], BZIMAGE[:0x206], BZIMAGE[:0x210], b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh9"]))
def test_any_bytes_give_a_kernel_or_an_error(data: bytes, start: bytes) -> None:
    try:
        kernel_file.inspect(start + data, "a file")
    except EstibaError as error:
        assert "a file" in error.message


# --- Debian packages --------------------------------------------------------------------------------------------------------


def package(*members: tuple[bytes, bytes]) -> bytes:
    data = b"!<arch>\n"
    for name, content in ((b"debian-binary", b"2.0\n"), *members):
        data += name.ljust(16) + b"0           0     0     100644  " + b"%d" % len(content) + b" " * (10 - len(b"%d" % len(content))) + b"`\n"
        data += content + b"\n" * (len(content) % 2)
    return data


def module(name: bytes, *fields: bytes) -> bytes:
    return b"\x7fELF " + name + b"".join(b"\0" + field + b"\0" for field in fields)


MODULES = {
    b"overlay": module(b"overlay", b"depends=second"),
    b"second": module(b"second", b"depends=first-one,", b"softdep=pre: gone"),
    b"first-one": module(b"first-one", b"depends="),
    b"other": module(b"other", b"depends="),
    b"ahci": module(b"ahci", b"depends=libata,second"),
    b"libata": module(b"libata", b"depends="),
}
FILES = b"".join(member(b"./lib/modules/6.1.2-test/kernel/" + name + b".ko", content) for name, content in MODULES.items())


def test_package_of_user_mode_linux() -> None:
    data = package((b"control.tar.xz", b"x"), (b"data.tar.xz", lzma.compress(member(b"./usr/bin/linux.uml", UML) + FILES + END)))
    assert is_package(data)
    assert not is_package(UML)
    found = kernel(data, "a package")
    assert (found.kind, found.data) == ("uml", UML)
    assert found.modules == [("first_one", MODULES[b"first-one"]), ("second", MODULES[b"second"]), ("overlay", MODULES[b"overlay"])]
    assert found.drivers == []


@pytest.mark.parametrize(
    ("name", "compress"), [(b"data.tar.xz", lzma.compress), (b"data.tar.zst", zstandard.ZstdCompressor().compress), (b"data.tar", bytes)]
)
def test_package_of_a_kernel(name: bytes, compress: Callable[[bytes], bytes]) -> None:
    compressed = member(b"./lib/modules/x/nvme.ko.xz", lzma.compress(module(b"nvme")))
    found = kernel(package((name, compress(member(b"./boot/vmlinuz-6.1.2-test", BZIMAGE) + compressed + FILES + END))), "a package")
    assert (found.kind, found.data) == ("bzimage", BZIMAGE)
    assert [name for name, _ in found.modules] == ["first_one", "second", "overlay"]
    assert found.drivers == [("libata", MODULES[b"libata"]), ("ahci", MODULES[b"ahci"]), ("nvme", module(b"nvme"))]


def test_packages_that_will_not_do() -> None:
    whole = package((b"data.tar.gz", gzip.compress(member(b"./usr/bin/true", b"x") + END)))
    with pytest.raises(InvalidArgument, match="holds no kernel"):
        kernel(whole, "a package")
    with pytest.raises(InvalidArgument, match="holds no files"):
        kernel(package((b"control.tar.xz", b"x")), "a package")
    with pytest.raises(DataLoss, match="cut short"):
        kernel(whole[:-20], "a package")
    with pytest.raises(DataLoss, match="damaged"):
        kernel(whole[:72] + b"x" * 70 + whole[142:], "a package")
    with pytest.raises(DataLoss, match="its compression is damaged"):
        kernel(package((b"data.tar.xz", lzma.compress(FILES)[:-30])), "a package")


def test_packages_larger_than_any(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [member(b"./boot/vmlinuz-6", BZIMAGE + bytes(1 << 20))] + [member(b"./usr/share/doc/%d" % each, bytes(1 << 20)) for each in range(3)]
    data = package((b"data.tar.xz", lzma.compress(b"".join(files) + END)))
    assert kernel(data, "a package").kind == "bzimage"
    monkeypatch.setattr(debian_package, "_LIMIT", 3 << 20)
    with pytest.raises(InvalidArgument, match="its files are larger than"):
        kernel(data, "a package")
    monkeypatch.undo()
    monkeypatch.setattr(kernel_file, "LIMIT", 1 << 20)
    with pytest.raises(InvalidArgument, match="its file ./boot/vmlinuz-6 is larger than 1 MiB"):
        kernel(data, "a package")


def test_modules_that_need_each_other_are_named_once() -> None:
    assert in_order(["a", "b"], {"a": ["b"], "b": ["a"]}.__getitem__) == ["b", "a"]
    assert in_order(["0"], lambda name: [str(int(name) + 1)])[-1] == "0", "without end"
    assert needs_of(module(b"x", b"alias=y", b"depends=a,b-c", b"softdep=pre: d e")) == ["a", "b_c", "d", "e"]
    assert [module_name(path) for path in ("a/b-c.ko", "b.ko.zst", "modules.dep", "x.koala")] == ["b_c", "b", "", ""]
