"""How much space the store takes, and what sharing saves."""

from __future__ import annotations

from estiba.errors import EstibaError
from estiba.store import layers
from estiba.store.blobs import all_blobs, blob_size
from estiba.store.gc import all_layers
from estiba.store.images import Image, list_images
from estiba.store.roots import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.oci.digest import DiffID, ImageID
    from estiba.store.layout import Store


class LayerUsage:
    """One layer: `size` of its files in bytes, `shared` of it in files that other layers hold too; `images` that stand on it."""

    __slots__ = ("diff_id", "images", "shared", "size")

    def __init__(self, diff_id: DiffID, size: int, shared: int) -> None:
        self.diff_id = diff_id
        self.size = size
        self.shared = shared
        self.images: set[ImageID] = set()


class ImageUsage:
    """One image: `size` of its layers; `shared` of it in layers that other images stand on too; `unique`, the rest."""

    __slots__ = ("containers", "image", "shared", "size", "unique")

    def __init__(self, image: Image, size: int, shared: int, users: int) -> None:
        self.image = image
        self.size = size
        self.shared = shared
        self.unique = size - shared
        self.containers = users


class Usage:
    """The whole store, in bytes.

    `images` and `layers`; `blobs`, manifests, configurations and kept compressed layers; `total` on disk, without containers;
    `saved_by_layers`, what images would take more if each had its own layers; `saved_by_files`, what layers would take more if each
    had its own files; `reclaimable`, what images take on which no container stands.
    """

    __slots__ = ("blobs", "images", "layers", "reclaimable", "saved_by_files", "saved_by_layers", "total")

    def __init__(self, images: list[ImageUsage], layer_list: list[LayerUsage], blobs: int) -> None:
        self.images = images
        self.layers = layer_list
        self.blobs = blobs
        stored = sum(layer.size for layer in layer_list)
        self.saved_by_files = sum(layer.shared for layer in layer_list)
        self.saved_by_layers = sum(layer.size * (len(layer.images) - 1) for layer in layer_list if layer.images)
        self.total = stored - self.saved_by_files + blobs
        busy = {usage.image.id for usage in images if usage.containers}
        self.reclaimable = sum(layer.size - layer.shared for layer in layer_list if not layer.images & busy)


def disk_usage(store: Store) -> Usage:
    """Measures the store by the descriptions of its layers; damaged objects count nothing (`check` names them)."""
    by_layer = {diff_id: _layer(store, diff_id) for diff_id in all_layers(store)}
    images = {image.id: image for image in reversed(list_images(store))}
    for image in images.values():
        for diff_id in _layers_of(image):
            if diff_id in by_layer:
                by_layer[diff_id].images.add(image.id)
    used = [state.image for state in containers(store)]
    usages = [_image(image, by_layer, used.count(image.id)) for image in reversed(images.values())]
    blobs = sum(blob_size(store, digest) or 0 for digest in all_blobs(store))
    return Usage(usages, list(by_layer.values()), blobs)


def image_size(store: Store, image: Image) -> int:
    """The size of an image in bytes: the sum of its layers, as `docker images` shows it."""
    return sum(_layer(store, diff_id).size for diff_id in _layers_of(image))


def _layers_of(image: Image) -> list[DiffID]:
    try:
        return image.layers
    except EstibaError:
        return []


def _layer(store: Store, diff_id: DiffID) -> LayerUsage:
    try:
        info = layers.layer_info(store, diff_id)
    except EstibaError:
        return LayerUsage(diff_id, 0, 0)
    return LayerUsage(diff_id, info.size, info.shared_bytes)


def _image(image: Image, by_layer: dict[DiffID, LayerUsage], users: int) -> ImageUsage:
    stack = [by_layer[diff_id] for diff_id in _layers_of(image) if diff_id in by_layer]
    shared = sum(layer.size for layer in stack if len(layer.images) > 1)
    return ImageUsage(image, sum(layer.size for layer in stack), shared, users)
