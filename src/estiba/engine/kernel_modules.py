"""The modules that a guest loads where its kernel has them as modules: file systems, its disks, the channel to the host."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

from estiba.machine.kernel_file import decompressed

#: What every guest needs, and what it needs beside that on hardware: that of a cloud or of a machine whose every part is emulated.
#: Names as of modprobe(8), in the order in which they are loaded; what is not there is built in, or for another processor.
GUEST = (
    "crc32c_generic", "crc32c_intel", "overlay", "erofs", "loop", "ext4", "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console",
    "9pnet_virtio", "9p",
)  # fmt: skip
HARDWARE = (
    "ahci", "ata_piix", "nvme", "sd_mod", "virtio_scsi", "hv_storvsc", "xen_blkfront", "vmw_pvscsi", "virtio_net", "e1000", "e1000e", "ena",
    "hv_netvsc", "xen_netfront", "vmxnet3", "virtio_rng", "button", "evdev",
)  # fmt: skip
#: Where Debian's package user-mode-linux has its modules.
FOLDER = "/usr/lib/uml/modules"

Module = tuple[str, bytes]
#: How far one module can need another, which needs another: in Linux they are a handful.
_DEEPEST = 100

_NEEDS = re.compile(rb"\0(?:depends=|softdep=pre: )([^\0]*)\0")


def in_order(wanted: Iterable[str], needs: Callable[[str], Iterable[str]]) -> list[str]:
    """The names of `wanted` and of what they need, each behind what it needs; `needs` tells that of one module."""
    order: list[str] = []

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in order or name in above or len(above) == _DEEPEST:
            return
        for other in needs(name):
            add(other, (*above, name))
        order.append(name)

    for name in wanted:
        add(name, ())
    return order


def needs_of(content: bytes) -> list[str]:
    """What a module says that it needs (the section .modinfo)."""
    words = (word for found in _NEEDS.findall(content) for word in re.split(r"[, ]+", found.decode("ascii", "replace")))
    return [word.replace("-", "_") for word in words if word]


def module_name(path: str) -> str:
    """The name of the module in the file at `path`, empty where it is none."""
    stem, suffix, rest = os.path.basename(path).partition(".ko")
    return stem.replace("-", "_") if suffix and rest in ("", ".xz", ".gz", ".zst") else ""


def installed_modules(release: str) -> list[Module]:
    """The modules of a User-Mode Linux that a package installed, by its release; none where there are none."""
    if "/" in release:
        return []  # the release is what a file says
    paths: dict[str, str] = {}
    for folder, _, names in os.walk(f"{FOLDER}/{release}"):
        paths |= {module_name(name): f"{folder}/{name}" for name in names if module_name(name)}
    order = in_order(GUEST, lambda name: needs_of(_read(paths[name])) if name in paths else ())
    return [(name, _read(paths[name])) for name in order if name in paths]


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return decompressed(file.read(), path)
