"""`image tree`: the layers that images and containers stand on, a kernel lowest, and the images that share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from estiba.engine import containers, kernels
from estiba.engine.containers import Container
from estiba.engine.image_filters import config_of
from estiba.engine.units import human_size
from estiba.errors import DataLoss, NotFound
from estiba.oci.digest import DiffID, hex_of
from estiba.store.images import Image, find, list_images
from estiba.store.layers import LayerInfo, layer_info
from estiba.store.layout import Store
from estiba.store.usage import image_size


@dataclass(frozen=True)
class TreeLayer:
    """One layer. `size` in bytes; `shared_files`, how many of them are files that other layers have as well and that are stored once;
    `also_in`, the other images that stand on the layer; `kernel`, kind and release of the kernel that it is.
    """

    diff_id: DiffID
    size: int
    shared_files: int
    also_in: list[str]
    kernel: str = ""

    def to_json(self) -> dict[str, object]:
        """Plain data for `--format json`."""
        return {name: value for name, value in vars(self).items() if name != "kernel" or value}

    def notes(self) -> list[str]:
        """What there is to say of it beside its size."""
        return [
            *([f"kernel {self.kernel}"] if self.kernel else []),
            *([f"shared with {', '.join(self.also_in)}"] if self.also_in else []),
            *([f"{human_size(self.shared_files)} in files that other layers have too"] if self.shared_files else []),
        ]


@dataclass(frozen=True)
class TreeImage:
    """One image with its layers, lowest first. `size` in bytes; `names` without those that are `<none>`."""

    id: str
    names: list[str]
    platform: str
    size: int
    layers: list[TreeLayer]

    @property
    def title(self) -> str:
        return ", ".join(self.names) or "<none>"


@dataclass(frozen=True)
class TreeContainer:
    """One container with the layers of its stack, lowest first: its kernel, where it has one of its own, then those of `image`."""

    id: str
    name: str
    image: str
    platform: str
    layers: list[TreeLayer]


@dataclass
class Tree:
    """Images with their layers, and containers."""

    images: list[TreeImage] = field(default_factory=list)
    containers: list[TreeContainer] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Plain data for `--format json`."""
        return {"images": [_plain(each) for each in self.images], "containers": [_plain(each) for each in self.containers]}

    def lines(self) -> list[str]:
        """For people: the top layer first, as a stack stands; `=` marks a layer that other images share."""
        result: list[str] = []
        for image in self.images:
            result.append(f"{image.title}  {image.id.partition(':')[2][:12]}  {image.platform}  {human_size(image.size)}")
            result += _stack(image.layers)
        for container in self.containers:
            result.append(f"container {container.name}  {container.id[:12]}  {container.platform}  of {container.image}")
            result += _stack(container.layers)
        return result


def _plain(stack: TreeImage | TreeContainer) -> dict[str, object]:
    return {**vars(stack), "layers": [each.to_json() for each in stack.layers]}


def _stack(layers: Sequence[TreeLayer]) -> list[str]:
    lines = []
    for place, layer in reversed(list(enumerate(layers))):
        mark = ("├" if place else "└") + ("=" if layer.also_in else "─")
        lines.append("  ".join((f"{mark} {hex_of(layer.diff_id)[:12]}", human_size(layer.size), *layer.notes())))
    return lines


def tree(store: Store, names: Sequence[str] = ()) -> Tree:
    """The tree of the images and containers `names`; when none is given, of all images and of the containers that have a kernel of their
    own. Raises NotFound, Conflict, DataLoss.
    """
    every = list_images(store)
    titles: dict[str, list[str]] = {}
    users: dict[DiffID, list[str]] = {}
    for image in every:
        titles.setdefault(str(image.id), [])
        if not image.reference.is_dangling:
            titles[str(image.id)].append(image.reference.familiar)
    shown = {str(image.id): image for image in every}
    for image_id, image in shown.items():
        for diff_id in dict.fromkeys(config_of(image).diff_ids):
            users.setdefault(diff_id, []).append(image_id)
    if names:
        found = [_find(store, name) for name in names]
    else:
        found = [*shown.values(), *(container for container in containers.list_containers(store) if container.kernel)]
    result = Tree()
    for each in {str(each.id): each for each in found}.values():
        if isinstance(each, Image):
            result.images.append(_image(store, shown[str(each.id)], titles, users))
        else:
            result.containers.append(_container(store, each, titles, users))
    return result


def _find(store: Store, name: str) -> Image | Container:
    """An image, else a container. Raises NotFound as the search for an image does."""
    try:
        return find(store, name)
    except NotFound:
        try:
            return containers.find(store, name)
        except NotFound:
            pass
        raise


def _image(store: Store, image: Image, titles: dict[str, list[str]], users: dict[DiffID, list[str]]) -> TreeImage:
    config = config_of(image)
    kernel = f"{config.labels[kernels.KIND]} {config.labels.get(kernels.RELEASE, '')}".rstrip() if kernels.KIND in config.labels else ""
    layers = []
    for diff_id in config.diff_ids:
        others = [user for user in users[diff_id] if user != str(image.id)]
        layers.append(_layer(store, diff_id, [_title(titles, user) for user in others], kernel))
    return TreeImage(str(image.id), titles[str(image.id)], image.platform.text, image_size(store, image), layers)


def _container(store: Store, container: Container, titles: dict[str, list[str]], users: dict[DiffID, list[str]]) -> TreeContainer:
    kernel = kernels.of_state(container.kernel, container.name) if container.kernel else None
    layers = []
    for diff_id in map(DiffID, container.layers):
        text = f"{kernel.kind} {kernel.release}".rstrip() if kernel and diff_id == kernel.layer else ""
        layers.append(_layer(store, diff_id, [_title(titles, user) for user in users.get(diff_id, [])], text))
    return TreeContainer(container.id, container.name, container.reference, container.platform, layers)


def _layer(store: Store, diff_id: DiffID, also_in: list[str], kernel: str) -> TreeLayer:
    info = _info(store, diff_id)
    return TreeLayer(diff_id, info.size, info.shared_bytes, also_in, kernel)


def _info(store: Store, diff_id: DiffID) -> LayerInfo:
    """What is known of a layer; nothing of a missing or damaged one, which hides no other."""
    try:
        return layer_info(store, diff_id)
    except (NotFound, DataLoss):
        return LayerInfo(diff_id)


def _title(titles: dict[str, list[str]], image_id: str) -> str:
    return titles[image_id][0] if titles[image_id] else image_id.partition(":")[2][:12]
