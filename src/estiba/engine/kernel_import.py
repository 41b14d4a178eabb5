"""`kernel import`: the image of a kernel from its file."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from estiba.config.settings import Settings
from estiba.engine import debian_package
from estiba.engine.from_host import layer_tar
from estiba.engine.host_files import HostEntry, HostFiles
from estiba.engine.kernel_modules import installed_modules
from estiba.engine.kernels import DRIVERS, FOLDER, KIND, MODULES, RELEASE, REPOSITORY
from estiba.engine.new_image import add_image, add_layer, encode, new_config, new_name
from estiba.engine.units import format_time
from estiba.errors import InvalidArgument, NotFound, PermissionDenied
from estiba.machine import kernel_file
from estiba.machine.kernel_file import KernelFile
from estiba.oci.platform import parse_platform
from estiba.oci.reference import Reference
from estiba.store.images import Image
from estiba.store.layout import Store

_NAMES = {kernel_file.UML: "linux", kernel_file.VMLINUX: "vmlinux", kernel_file.BZIMAGE: "vmlinuz", kernel_file.ARM64_IMAGE: "Image"}
#: Folders of the layer: the jail of a machine monitor mounts on them, its root being this layer, read-only.
_FOLDERS = ("/boot", "/boot/modules", "/dev", "/proc", "/run", "/tmp")  # noqa: S108 - folders of an image


def import_kernel(store: Store, settings: Settings, path: str, name: str | None = None) -> Image:
    """Makes an image of the kernel at `path`, under `name` or under the one that its kind and release give it.

    `path` is a User-Mode Linux program, vmlinux, bzImage or arm64's Image, plain or compressed, or a Debian package of one
    (linux-image-*, user-mode-linux).
    Raises NotFound, PermissionDenied, InvalidArgument when it is no kernel, DataLoss when it is damaged, NotImplemented.
    """
    kernel = read_kernel(path)
    text = name or f"{REPOSITORY}:{kernel.kind}-{kernel.release or 'unknown'}"
    return add_kernel(store, settings, kernel, path, new_name(store, text, "name a kernel"))


def read_kernel(path: str) -> KernelFile:
    """Reads a kernel's file. Raises as `import_kernel`."""
    try:
        with open(path, "rb") as file:
            data = file.read(kernel_file.LIMIT + 1)
    except FileNotFoundError:
        raise NotFound(f"cannot use kernel {path}: there is no such file") from None
    except IsADirectoryError:
        raise InvalidArgument(f"cannot use kernel {path}: it is a folder") from None
    except OSError as error:
        raise PermissionDenied(f"cannot read kernel {path}: {(error.strerror or 'it cannot be opened').lower()}") from None
    if debian_package.is_package(data):
        return debian_package.kernel(data, path)
    kernel = kernel_file.inspect(data, path)
    if kernel.kind == kernel_file.UML:
        kernel.modules = installed_modules(kernel.release)
    return kernel


def add_kernel(store: Store, settings: Settings, kernel: KernelFile, path: str, reference: Reference | None) -> Image:
    """Stores a kernel as an image under `reference` or no name; `path` is where it came from. Raises as `import_kernel`."""
    entries = {folder: HostEntry("directory", 0o755) for folder in _FOLDERS}
    if kernel.kind == kernel_file.UML:
        entries |= _libraries(kernel, path)
    target = f"{FOLDER}/{_NAMES[kernel.kind]}"
    entries[target] = HostEntry("file", 0o755, content=kernel.data)
    modules, drivers = ([_module_path(name) for name, _ in each] for each in (kernel.modules, kernel.drivers))
    entries |= {_module_path(name): HostEntry("file", 0o644, content=content) for name, content in (*kernel.modules, *kernel.drivers)}
    with store.using():
        layer = add_layer(store, settings, layer_tar(entries, 0))
        moment = format_time(datetime.now(UTC))
        labels = {KIND: kernel.kind, RELEASE: kernel.release, MODULES: " ".join(modules), DRIVERS: " ".join(drivers)}
        process = {"Entrypoint": [target], "Labels": labels}
        document = new_config(parse_platform(f"linux/{kernel.architecture}"), moment, [layer], process)
        document["history"] = [{"created": moment, "created_by": f"estiba kernel import {os.path.basename(path)}"}]
        return add_image(store, encode(document), [layer], reference)


def _module_path(name: str) -> str:
    return f"{FOLDER}/modules/{name}.ko"


def _libraries(kernel: KernelFile, path: str) -> dict[str, HostEntry]:
    """What the program is linked with, of this machine."""
    files = HostFiles()
    files.add_needs(kernel.data, path)
    files.finish()
    return files.entries
