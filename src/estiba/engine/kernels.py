"""Kernels in the store: images whose one layer holds a kernel, and for User-Mode Linux the libraries that it is linked with.

On the start path of `run` on another kernel.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument
from estiba.oci.digest import parse_diff_id
from estiba.oci.platform import host_platform
from estiba.oci.strict_json import get_str, get_str_list
from estiba.store import images, references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.oci.digest import DiffID
    from estiba.oci.reference import Reference
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


def of_image(image: Image, name: str) -> Kernel:
    """What the image of a kernel says. Raises InvalidArgument when it is none."""
    config = image.config
    if KIND not in config.labels or len(config.diff_ids) != 1 or len(config.entrypoint) != 1:
        raise InvalidArgument(f"cannot use {name} as a kernel: it is an image without one", hint=_HINT)
    labels = config.labels
    modules, drivers = (labels.get(name, "").split() for name in (MODULES, DRIVERS))
    return Kernel(config.diff_ids[0], config.entrypoint[0], labels[KIND], labels.get(RELEASE, ""), config.architecture, modules, drivers)


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


def refuse_name(name: Reference | None, what: str) -> None:
    """Raises InvalidArgument for a name that no archive may bring: who has it is the kernel of every machine for which none is named."""
    if name is not None and name.name == REPOSITORY:
        raise InvalidArgument(
            f"cannot load {what}: it names an image {name.familiar}, and machines take their kernel from there unasked",
            hint="save it under another name, and estiba tag gives it this one",
        )


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
