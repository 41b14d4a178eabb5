"""The disk from which a machine's firmware loads its kernel: boot loader, kernel and its command line, an initramfs without a plan.

Made once for each kernel and command line. On the start path of `run` on a machine with a firmware, but for what makes one.
"""

from __future__ import annotations

import os

from estiba.engine.fingerprint import fingerprint
from estiba.plan.helper import helper_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.kernels import Kernel
    from estiba.store.layout import Store

#: Of the kinds of kernels, the one that a boot loader starts.
BOOTS = "bzimage"


def boot_disk(store: Store, settings: Settings, kernel: Kernel, options: str) -> str:
    """Returns the path of the disk with the kernel, whose command line is `options`. Raises FailedPrecondition, ResourceExhausted."""
    # Two images may name other files of one layer, and whose comes first must not make the other's disk.
    path = f"{store.cache}/boot/{fingerprint(settings, kernel.layer, kernel.path, kernel.modules, kernel.drivers, options)}"
    if not os.path.exists(path):
        _make(store, settings, kernel, options, path)
    return path


def _make(store: Store, settings: Settings, kernel: Kernel, options: str, path: str) -> None:
    from estiba.engine import kernel_layer, tools
    from estiba.engine.boot_disk import make_boot_disk
    from estiba.machine import initramfs

    image, modules = kernel_layer.read(store, kernel)
    archive = initramfs.archive(_read(helper_path(settings)), modules)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tools.Workshop(store) as shop:
        with open(f"{shop.path}/disk", "xb"):
            make_boot_disk(f"{shop.path}/disk", shop.path, image, archive, options, uefi=False)
        os.rename(f"{shop.path}/disk", path)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
