"""`stack`: an image of several images, one on the other, without writing a layer.

`explain` names what the stack takes away from sight (`stack_view`).
"""

from __future__ import annotations

from collections.abc import Sequence

from estiba.engine.new_image import add_image, new_name
from estiba.engine.stack_configs import stack_configs, unique_layers
from estiba.engine.stack_view import Hidden, View, read_layer
from estiba.errors import InvalidArgument
from estiba.oci import media_types
from estiba.oci.descriptor import Descriptor
from estiba.oci.platform import parse_platform
from estiba.store.images import Image, find
from estiba.store.layout import Store

__all__ = ["Hidden", "explain", "stack", "stack_configs"]


def stack(store: Store, names: Sequence[str], reference: str, *, platform: str | None = None) -> Image:
    """Makes an image of `names`, lowest first, under the name `reference`.

    Raises NotFound, InvalidArgument when their platforms differ or there are too many layers.
    """
    target = new_name(store, reference, "stack images as")
    with store.using():
        images = find_all(store, names, platform)
        config = stack_configs([image.config for image in images])
        known = {diff_id: layer for image in images for diff_id, layer in zip(image.layers, image.manifest.layers, strict=True)}
        return add_image(store, config.raw, [_as_oci(known[diff_id]) for diff_id in config.diff_ids], target)


_OCI_TYPES = {
    media_types.DOCKER_LAYER: media_types.OCI_LAYER,
    media_types.DOCKER_LAYER_GZIP: media_types.OCI_LAYER_GZIP,
    media_types.DOCKER_LAYER_ZSTD: media_types.OCI_LAYER_ZSTD,
}


def _as_oci(layer: Descriptor) -> Descriptor:
    """The layer as an OCI manifest names it: the same blob, so that a push finds it where it was pulled from."""
    return Descriptor(_OCI_TYPES.get(layer.media_type, layer.media_type), layer.digest, layer.size)


def find_all(store: Store, names: Sequence[str], platform: str | None) -> list[Image]:
    """The images of a stack, which needs two at least. Raises InvalidArgument, NotFound."""
    if len(names) < 2:
        raise InvalidArgument("cannot stack images: a stack needs two at least")
    return [find(store, name, parse_platform(platform) if platform else None) for name in names]


def explain(store: Store, names: Sequence[str], *, platform: str | None = None) -> list[Hidden]:
    """The files of the stack's images that another image above hides, by path.

    What an image hides of its own lower layers is its own affair and left out, and so is a file that is replaced by an equal one.
    Raises NotFound, InvalidArgument, DataLoss.
    """
    with store.using():
        images = find_all(store, names, platform)
        stack_configs([image.config for image in images])
        view = View(names)
        last = {diff_id: number for number, image in enumerate(images) for diff_id in image.layers}
        for number, image in enumerate(images):
            for diff_id in unique_layers(image.layers):
                if last[diff_id] == number:  # a layer of a higher image as well is in the stack there only
                    view.add_layer(number, read_layer(store, diff_id))
        return sorted(view.hidden, key=lambda each: each.path)
