"""Kernels in the store: images whose one layer holds a kernel, and for User-Mode Linux the libraries that it is linked with.

A kernel that is named by a path becomes such an image without a name, once: ``cache/kernels/`` remembers which file became which.
On the start path of `run` on another kernel, but for what makes one.
"""

from __future__ import annotations

import os

from estiba.engine import kvm
from estiba.errors import DataLoss, InvalidArgument, NotFound
from estiba.oci.digest import parse_diff_id
from estiba.oci.platform import host_platform
from estiba.oci.strict_json import get_str, get_str_list
from estiba.store import images, references
from estiba.store.layer_ids import highest_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings
    from estiba.oci.digest import DiffID
    from estiba.store.images import Image
    from estiba.store.layout import Store

#: The repository of kernels that were imported without a name of their own.
REPOSITORY = "localhost/kernel"
#: Labels of a kernel's image, and the folder of its layer that holds the kernel.
KIND, RELEASE, MODULES, DRIVERS = "kernel.kind", "kernel.release", "kernel.modules", "kernel.drivers"
FOLDER = "/boot"
#: A kernel that is a program itself; the others run on QEMU.
UML = "uml"
#: What each rung runs, the kind first that suits it best: QEMU starts a vmlinux at once, a boot loader starts a bzImage.
RUNGS = {"para": (UML,), "partial": ("vmlinux", "bzimage", "image"), "full": ("bzimage", "vmlinux")}
#: What gets one.
REMEDIES = {
    "para": "estiba kernel import --auto, or: estiba kernel import FILE",
    "partial": "estiba kernel build machine --source debian, or: estiba kernel import FILE",
    "full": "estiba kernel build machine --source debian, or: estiba kernel import FILE",
}
_HINT = "estiba kernel import FILE makes a kernel's image; --kernel FILE uses one at once"


class Kernel:
    """A kernel of the store: its `layer`, where it is in it (`path`), the `modules` in it that every guest loads, in their order, and the
    `drivers` that one on hardware loads after them, its `kind`, `release` and `architecture`.
    """

    __slots__ = ("architecture", "drivers", "kind", "layer", "modules", "path", "release")

    def __init__(
        self, layer: DiffID, path: str, kind: str, release: str, architecture: str, modules: list[str], drivers: list[str]
    ) -> None:
        self.layer = layer
        self.path = path
        self.kind = kind
        self.release = release
        self.architecture = architecture
        self.modules = modules
        self.drivers = drivers

    def state(self) -> dict[str, object]:
        """The kernel as state.json has it: a container starts again on the one that it was created on."""
        return {name: getattr(self, name) for name in self.__slots__}


def of_state(state: dict[str, object], what: str) -> Kernel:
    """The kernel of a container that was created before. Raises DataLoss."""
    path, kind, release, architecture = (get_str(state, name, what) for name in ("path", "kind", "release", "architecture"))
    modules, drivers = get_str_list(state, "modules", what), get_str_list(state, "drivers", what, [])
    return Kernel(parse_diff_id(get_str(state, "layer", what)), path, kind, release, architecture, modules, drivers)


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
        kernel = of_image(images.find(store, name), name)
    else:
        found = newest(store, rung, architecture)
        if found is None:
            what = f"none of {architecture}" if architecture not in (None, host_platform().architecture) else "none"
            raise NotFound(f"cannot run on a kernel of its own: the store holds {what} for --isolation {rung}", hint=REMEDIES[rung])
        kernel = found
    if kernel.kind not in (*RUNGS[rung], *others):
        raise InvalidArgument(f"cannot use kernel {name}: it is a {kernel.kind}, and --isolation {rung} takes {' or '.join(RUNGS[rung])}")
    wanted = architecture or host_platform().architecture
    if kernel.architecture != wanted:
        whose = "the image is" if architecture else "this machine is"
        raise InvalidArgument(f"cannot use kernel {name}: it is for {kernel.architecture}, {whose} {wanted}")
    if highest_id(store, kernel.layer) is None:
        raise DataLoss(f"cannot use kernel {name}: its layer is missing from the store", hint="estiba system check --repair")
    return kernel


def of_image(image: Image, name: str) -> Kernel:
    """What the image of a kernel says. Raises InvalidArgument when it is none."""
    config = image.config
    if KIND not in config.labels or len(config.diff_ids) != 1 or len(config.entrypoint) != 1:
        raise InvalidArgument(f"cannot use {name} as a kernel: it is an image without one", hint=_HINT)
    labels = config.labels
    modules, drivers = (labels.get(name, "").split() for name in (MODULES, DRIVERS))
    return Kernel(config.diff_ids[0], config.entrypoint[0], labels[KIND], labels.get(RELEASE, ""), config.architecture, modules, drivers)


def taken(store: Store, settings: Settings, rung: str) -> Kernel | None:
    """The kernel that a new container on `rung` gets where none is named. A machine of paravirtual devices alone is QEMU's where KVM works
    and there is a kernel for it, else User-Mode Linux. Raises DataLoss.
    """
    by_kvm = newest(store, "partial") if rung == "para" and kvm.usable(settings)[0] else None
    return by_kvm or newest(store, rung)


def why_para(settings: Settings, kind: str, *, named: bool) -> str:
    """Why a machine of paravirtual devices alone on a kernel of this kind is what it is."""
    works, seen = kvm.usable(settings)
    if kind != UML:
        return "QEMU, for KVM runs guests here"
    if named:
        return "User-Mode Linux, as the kernel that was named"
    return "User-Mode Linux, for there is no kernel for QEMU" if works else f"User-Mode Linux, for KVM runs no guests here: {seen}"


def newest(store: Store, rung: str, architecture: str | None = None) -> Kernel | None:
    """The kernel that was imported last for `rung`, of this machine's or another architecture; where its release is there in several kinds,
    the one that suits the rung best. Raises DataLoss.
    """
    wanted = architecture or host_platform().architecture
    every = [(image.config.created or "", of_image(image, REPOSITORY)) for image in named(store)]
    found = [(created, kernel) for created, kernel in every if kernel.kind in RUNGS[rung] and kernel.architecture == wanted]
    if not found:
        return None
    release = max(found, key=lambda pair: pair[0])[1].release
    same = [(-RUNGS[rung].index(kernel.kind), created, kernel) for created, kernel in found if kernel.release == release]
    return max(same, key=lambda triple: triple[:2])[2]


def named(store: Store) -> list[Image]:
    """The images in the repository of kernels."""
    prefix = REPOSITORY.replace("/", "+")
    found = []
    for name in references.names(store):
        if name.startswith(prefix):
            reference, target = references.read_named(store, name) or (None, None)
            if reference is not None and target is not None and reference.name == REPOSITORY:
                found += [images.Image(store, reference, target, entry) for entry in target.images]
    return found


# --- a kernel's file ---------------------------------------------------------------------------------------------------------


def _of_file(store: Store, settings: Settings, path: str) -> Kernel:
    try:
        status = os.stat(path)
    except OSError as error:
        raise NotFound(f"cannot use kernel {path}: {(error.strerror or 'it cannot be read').lower()}") from None
    note = f"{store.cache}/kernels/{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    try:
        with open(note, encoding="utf-8") as file:
            return of_image(images.find(store, file.read()), path)
    except (FileNotFoundError, NotFound):
        pass
    from estiba.engine.kernel_import import add_kernel, read_kernel

    image = add_kernel(store, settings, read_kernel(path), path, None)
    os.makedirs(f"{store.cache}/kernels", exist_ok=True)
    with open(note, "w", encoding="utf-8") as file:
        file.write(image.id)
    return of_image(image, path)
