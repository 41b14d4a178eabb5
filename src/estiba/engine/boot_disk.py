"""Makes a disk that a firmware boots, old (BIOS) or new (UEFI), without root and without a loop device.

- Sector 0: boot code for a BIOS, which starts the partition that is marked for it (package syslinux-common).
- A GPT, whose names of partitions are what a guest finds its disks by.
- Partition 1: FAT, the EFI system partition: kernel, initramfs, and two boot loaders, SYSLINUX for a BIOS and systemd-boot for UEFI.
- Others: what the caller has, file systems that are copied or made in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from estiba.engine import tools
from estiba.errors import FailedPrecondition
from estiba.store.publish import failure

SECTOR = 512
MIB = 1 << 20
_BOOT_CODE = ("/usr/lib/syslinux/mbr/gptmbr.bin", "/usr/share/syslinux/gptmbr.bin", "/usr/lib/syslinux/bios/gptmbr.bin")
_EFI_LOADER = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
_BOOT_CODE_SIZE = 440  # what is behind it is the disk's signature and the table of partitions
_ESP, _LINUX = "C12A7328-F81F-11D2-BA4B-00C04FD430C8", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
#: What a file system and two loaders take beside kernel and initramfs.
_ESP_SLACK = 4 * MIB
_LEAST_ESP = 16 * MIB
_BACKUP_TABLE = MIB
_MOST_PARTITIONS = 128  # of a table of the usual size

_SYSLINUX = "DEFAULT estiba\nPROMPT 0\nTIMEOUT 0\nLABEL estiba\n  LINUX /vmlinuz\n  INITRD /initrd\n  APPEND {options}\n"
_ENTRY = "title estiba\nlinux /vmlinuz\ninitrd /initrd\noptions {options}\n"


class Part:
    """A partition: its `name`, its `size` in bytes, and what it holds: a copy of the file `source`, or what `make` makes in the
    disk's file, which is called with the disk's path and where the partition begins (bytes).
    """

    def __init__(self, name: str, size: int, *, source: str = "", make: Callable[[str, int], None] | None = None) -> None:
        self.name = name
        self.size = -(-size // MIB) * MIB
        self.source = source
        self.make = make


def make_boot_disk(
    path: str, folder: str, kernel: bytes, initramfs: bytes, options: str, parts: Sequence[Part] = (), *, uefi: bool = True
) -> None:
    """Makes the disk at `path`, a raw file that is there and empty; `folder` is for what is needed on the way.

    Parameters: `kernel`, a bzImage; `options`, its command line; `uefi`, whether it has the loader of UEFI too. Raises
    FailedPrecondition where a package is missing, ResourceExhausted.
    """
    esp = f"{folder}/esp"
    _make_esp(esp, folder, kernel, initramfs, options, uefi=uefi)
    every = [Part("esp", os.stat(esp).st_size, source=esp), *parts]
    begins = [MIB]
    for part in every:
        begins.append(begins[-1] + part.size)
    try:
        os.truncate(path, begins[-1] + _BACKUP_TABLE)
        _partition(path, every, begins)
        for part, begin in zip(every, begins, strict=False):
            if part.make is not None:
                part.make(path, begin)
            else:
                _copy(part.source, path, begin)
        _write(path, 0, _boot_code())
    except OSError as error:
        raise failure(error, f"write {path}") from error


def _tool(program: str, package: str, *arguments: str, stdin: str = "", folder: str | None = None) -> None:
    # mtools asks no questions, and takes the size of the disk from the file system.
    environment = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": os.devnull}
    tools.run("make a disk that boots", program, package, *arguments, stdin=stdin, folder=folder, environment=environment)


def _make_esp(esp: str, folder: str, kernel: bytes, initramfs: bytes, options: str, *, uefi: bool) -> None:
    files = {
        "vmlinuz": kernel,
        "initrd": initramfs,
        "syslinux.cfg": _SYSLINUX.format(options=options).encode(),
        "loader/loader.conf": b"timeout 0\ndefault estiba.conf\n",
        "loader/entries/estiba.conf": _ENTRY.format(options=options).encode(),
    }
    copies = {"EFI/BOOT/BOOTX64.EFI": _first((_EFI_LOADER,), "systemd-boot-efi")} if uefi else {}
    for number, (name, content) in enumerate(files.items()):
        copies[name] = f"{folder}/file{number}"
        with open(copies[name], "wb") as file:
            file.write(content)
    size = max(_LEAST_ESP, sum(os.stat(source).st_size for source in copies.values()) + _ESP_SLACK)
    with open(esp, "wb") as file:
        file.truncate(-(-size // MIB) * MIB)
    # A BIOS's loader is told where the partition begins by the file system itself (BPB, hidden sectors).
    _tool("mkfs.vfat", "dosfstools", "-n", "ESTIBA", "-h", str(MIB // SECTOR), esp)
    _tool("mmd", "mtools", "-i", esp, "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries")
    for name, source in copies.items():
        _tool("mcopy", "mtools", "-i", esp, source, f"::/{name}")
    _tool("syslinux", "syslinux", "--install", esp, folder=folder)


def _partition(path: str, parts: Sequence[Part], begins: Sequence[int]) -> None:
    lines = ["label: gpt", f"first-lba: {MIB // SECTOR}", *([f"table-length: {len(parts)}"] if len(parts) > _MOST_PARTITIONS else [])]
    for number, (part, begin) in enumerate(zip(parts, begins, strict=False)):
        kind = f"type={_LINUX}" if number else f'type={_ESP}, attrs="LegacyBIOSBootable"'
        lines.append(f'start={begin // SECTOR}, size={part.size // SECTOR}, name="{part.name}", {kind}')
    _tool("sfdisk", "fdisk", "--quiet", "--no-reread", "--no-tell-kernel", path, stdin="\n".join(lines) + "\n")


def _boot_code() -> bytes:
    with open(_first(_BOOT_CODE, "syslinux-common"), "rb") as file:
        return file.read()[:_BOOT_CODE_SIZE]


def _first(paths: Sequence[str], package: str) -> str:
    found = next((path for path in paths if os.path.exists(path)), None)
    if found is None:
        raise FailedPrecondition(f"cannot make a disk that boots: {paths[0]} is missing", hint=f"install the package {package}")
    return found


def _copy(source: str, path: str, begin: int) -> None:
    with open(source, "rb") as file, open(path, "r+b") as disk:
        for at, data in pieces(file):
            os.pwrite(disk.fileno(), data, begin + at)


def pieces(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """What a sparse file holds (lseek(2), SEEK_DATA), as (offset, bytes)."""
    size, end = os.fstat(file.fileno()).st_size, 0
    while end < size:
        try:
            begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: nothing but a hole up to the end
        end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
        for at in range(begin, end, MIB):
            yield at, os.pread(file.fileno(), min(MIB, end - at), at)


def _write(path: str, begin: int, data: bytes) -> None:
    with open(path, "r+b") as disk:
        os.pwrite(disk.fileno(), data, begin)
