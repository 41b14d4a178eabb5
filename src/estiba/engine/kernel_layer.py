"""Files of a kernel's layer that are read on this machine, not in a jail.

The layer is a stranger's, and so are the labels that name its files.
"""

from __future__ import annotations

import os
import stat

from estiba.engine.kernels import Kernel
from estiba.errors import InvalidArgument
from estiba.oci.digest import hex_of
from estiba.store.layout import Store


def read(store: Store, kernel: Kernel) -> tuple[bytes, list[bytes]]:
    """Returns the kernel and, in their order, the modules and drivers that it loads. Raises as `read_file`."""
    image, *modules = (read_file(store, kernel, path) for path in (kernel.path, *kernel.modules, *kernel.drivers))
    return image, modules


def read_file(store: Store, kernel: Kernel, path: str) -> bytes:
    """Reads a file of the layer; no link is followed, and no path leads out. Raises InvalidArgument for what is no file there."""
    at = os.open(f"{store.layers}/{hex_of(kernel.layer)}/fs", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, name = path.removeprefix("/").split("/")
        for part, flags in (*((each, os.O_DIRECTORY) for each in folders), (name, os.O_NONBLOCK)):
            if part in ("", ".", "..") or "\0" in part:
                raise FileNotFoundError(path)
            outer, at = at, os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=at)
            os.close(outer)
        if not stat.S_ISREG(os.fstat(at).st_mode):
            raise FileNotFoundError(path)
        with open(at, "rb", closefd=False) as file:
            return file.read()
    except OSError:
        raise InvalidArgument(f"cannot use a kernel: its image has no file {path!r}", hint="estiba kernel import FILE") from None
    finally:
        os.close(at)
