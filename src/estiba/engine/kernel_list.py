"""`kernel ls` and `kernel rm`: the kernels among the images of the store."""

from __future__ import annotations

from estiba.engine import kernels
from estiba.engine.image_filters import created
from estiba.engine.rmi import Removed, rmi
from estiba.engine.units import created_since, human_size
from estiba.store.images import Image, find
from estiba.store.layout import Store
from estiba.store.usage import image_size


class KernelRow:
    """One kernel. The upper-case attributes are the fields of `--format`; `Default` is the rung for which it is taken unasked."""

    def __init__(self, store: Store, image: Image, default: str) -> None:
        kernel = kernels.of_image(image, image.reference.familiar)
        self.Name = image.reference.familiar
        self.Kind = kernel.kind
        self.Release = kernel.release
        self.Architecture = kernel.architecture
        self.ID = str(image.id)
        self.CreatedSince = created_since(created(image))
        self.Size = human_size(image_size(store, image))
        self.Default = default


def list_kernels(store: Store) -> list[KernelRow]:
    """The kernels that were imported or pulled under a name of their repository, newest first. Raises DataLoss."""
    images = sorted(kernels.named(store), key=lambda image: image.config.created or "", reverse=True)
    every = [kernels.of_image(image, image.reference.familiar) for image in images]
    architectures = {kernel.architecture for kernel in every}
    newest = ((rung, kernels.newest(store, rung, each)) for each in architectures for rung in kernels.RUNGS)
    taken = {(rung, kernel.layer) for rung, kernel in newest if kernel is not None}
    rungs = ([rung for rung in kernels.RUNGS if (rung, kernel.layer) in taken] for kernel in every)
    return [KernelRow(store, image, ",".join(each)) for image, each in zip(images, rungs, strict=True)]


def remove_kernel(store: Store, name: str, *, force: bool = False) -> list[Removed]:
    """Removes a kernel as `rmi` removes an image. Raises InvalidArgument for an image that is no kernel, and what `rmi` raises."""
    kernels.of_image(find(store, name), name)
    return rmi(store, name, force=force)
