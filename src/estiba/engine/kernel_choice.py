"""Which kernel of the store a container runs on: the one that is named, or the one that suits its rung best.

A kernel that is named by a path becomes an image without a name, once: ``cache/kernels/`` remembers which file became which.
On the start path of `run` on another kernel, but for what makes one.
"""

from __future__ import annotations

import os

from estiba.engine import kernels, kvm
from estiba.errors import DataLoss, InvalidArgument, NotFound
from estiba.oci.platform import host_platform
from estiba.store import images
from estiba.store.layer_ids import highest_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings
    from estiba.engine.kernels import Kernel
    from estiba.store.layout import Store


def choose(
    store: Store, settings: Settings, name: str | None, rung: str, *, others: Sequence[str] = (), architecture: str | None = None
) -> Kernel:
    """Finds the kernel `name` (an image or a path), or the one that was imported last for `rung`; `others` are kinds that will do as well,
    `architecture` is that of its programs where it is not this machine's.

    Raises NotFound, InvalidArgument for what is no kernel of this rung, and what `import_kernel` raises.
    """
    if name is not None and "/" in name and os.path.exists(name):
        kernel = _of_file(store, settings, name)
    elif name is not None:
        kernel = kernels.of_image(images.find(store, name), name)
    else:
        found = kernels.newest(store, rung, architecture)
        if found is None:
            what = f"none of {architecture}" if architecture not in (None, host_platform().architecture) else "none"
            raise NotFound(f"cannot run on a kernel of its own: the store holds {what} for --isolation {rung}", hint=kernels.REMEDIES[rung])
        kernel = found
    if kernel.kind not in (*kernels.RUNGS[rung], *others):
        kinds = " or ".join(kernels.RUNGS[rung])
        raise InvalidArgument(f"cannot use kernel {name}: it is a {kernel.kind}, and --isolation {rung} takes {kinds}")
    wanted = architecture or host_platform().architecture
    if kernel.architecture != wanted:
        whose = "the image is" if architecture else "this machine is"
        raise InvalidArgument(f"cannot use kernel {name}: it is for {kernel.architecture}, {whose} {wanted}")
    if highest_id(store, kernel.layer) is None:
        raise DataLoss(f"cannot use kernel {name}: its layer is missing from the store", hint="estiba system check --repair")
    return kernel


def taken(store: Store, settings: Settings, rung: str) -> Kernel | None:
    """The kernel that a new container on `rung` gets where none is named. A machine of paravirtual devices alone is QEMU's where KVM works
    and there is a kernel for it, else User-Mode Linux. Raises DataLoss.
    """
    by_kvm = kernels.newest(store, "partial") if rung == "para" and kvm.usable(settings)[0] else None
    return by_kvm or kernels.newest(store, rung)


def why_para(settings: Settings, kind: str, *, named: bool) -> str:
    """Why a machine of paravirtual devices alone on a kernel of this kind is what it is."""
    works, seen = kvm.usable(settings)
    if kind != kernels.UML:
        return "QEMU, for KVM runs guests here"
    if named:
        return "User-Mode Linux, as the kernel that was named"
    return "User-Mode Linux, for there is no kernel for QEMU" if works else f"User-Mode Linux, for KVM runs no guests here: {seen}"


def _of_file(store: Store, settings: Settings, path: str) -> Kernel:
    try:
        status = os.stat(path)
    except OSError as error:
        raise NotFound(f"cannot use kernel {path}: {(error.strerror or 'it cannot be read').lower()}") from None
    note = f"{store.cache}/kernels/{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    try:
        with open(note, encoding="utf-8") as file:
            return kernels.of_image(images.find(store, file.read()), path)
    except (FileNotFoundError, NotFound):
        pass
    from estiba.engine.kernel_import import add_kernel, read_kernel

    image = add_kernel(store, settings, read_kernel(path), path, None)
    os.makedirs(f"{store.cache}/kernels", exist_ok=True)
    with open(note, "w", encoding="utf-8") as file:
        file.write(image.id)
    return kernels.of_image(image, path)
