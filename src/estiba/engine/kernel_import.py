"""`kernel import`: the image of a kernel from its file."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from estiba.config.settings import Settings
from estiba.engine.from_host import layer_tar
from estiba.engine.host_files import HostEntry, HostFiles
from estiba.engine.kernels import FOLDER, KIND, RELEASE
from estiba.engine.new_image import add_image, add_layer, encode, new_config
from estiba.engine.units import format_time
from estiba.errors import InvalidArgument, PermissionDenied
from estiba.machine import kernel_file
from estiba.machine.kernel_file import KernelFile
from estiba.oci.platform import parse_platform
from estiba.oci.reference import Reference
from estiba.store.images import Image
from estiba.store.layout import Store

_NAMES = {kernel_file.UML: "linux", kernel_file.VMLINUX: "vmlinux", kernel_file.BZIMAGE: "vmlinuz", kernel_file.ARM64_IMAGE: "Image"}
#: Folders of the layer: the jail of a machine monitor mounts on them, its root being this layer, read-only.
_FOLDERS = ("/boot", "/dev", "/proc", "/run", "/tmp")  # noqa: S108 - folders of an image


def add_file(store: Store, settings: Settings, path: str, reference: Reference | None) -> Image:
    """Makes an image of the kernel at `path`, under `reference` or no name.

    Raises NotFound, PermissionDenied, InvalidArgument when it is no kernel, DataLoss when it is damaged, NotImplemented.
    """
    kernel = kernel_file.inspect(_read(path), path)
    entries = {folder: HostEntry("directory", 0o755) for folder in _FOLDERS}
    if kernel.kind == kernel_file.UML:
        entries |= _libraries(kernel, path)
    target = f"{FOLDER}/{_NAMES[kernel.kind]}"
    entries[target] = HostEntry("file", 0o755, content=kernel.data)
    with store.using():
        layer = add_layer(store, settings, layer_tar(entries, 0))
        moment = format_time(datetime.now(UTC))
        process = {"Entrypoint": [target], "Labels": {KIND: kernel.kind, RELEASE: kernel.release}}
        document = new_config(parse_platform(f"linux/{kernel.architecture}"), moment, [layer], process)
        document["history"] = [{"created": moment, "created_by": f"estiba kernel import {os.path.basename(path)}"}]
        return add_image(store, encode(document), [layer], reference)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(kernel_file.LIMIT + 1)
    except IsADirectoryError:
        raise InvalidArgument(f"cannot use {path}: it is a folder") from None
    except OSError as error:
        raise PermissionDenied(f"cannot read kernel {path}: {(error.strerror or 'it cannot be opened').lower()}") from None
    return data


def _libraries(kernel: KernelFile, path: str) -> dict[str, HostEntry]:
    """What the program is linked with, of this machine."""
    files = HostFiles()
    files.add_needs(kernel.data, path)
    files.finish()
    return files.entries
