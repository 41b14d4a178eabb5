"""`image tree`: the layers that images stand on, and the images that share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    """One layer of an image. `size` in bytes; `shared_files`, how many of them are files that other layers have as well and that
    are stored once; `also_in`, the other images that stand on the layer.
    """

    diff_id: DiffID
    size: int
    shared_files: int
    also_in: list[str]


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


@dataclass
class Tree:
    """Images with their layers."""

    images: list[TreeImage] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Plain data for `--format json`."""
        return {
            "images": [
                {
                    "id": image.id,
                    "names": image.names,
                    "platform": image.platform,
                    "size": image.size,
                    "layers": [
                        {"diff_id": each.diff_id, "size": each.size, "shared_files": each.shared_files, "also_in": each.also_in}
                        for each in image.layers
                    ],
                }
                for image in self.images
            ]
        }

    def lines(self) -> list[str]:
        """For people: the top layer first, as a stack stands; `=` marks a layer that other images share."""
        result: list[str] = []
        for image in self.images:
            result.append(f"{image.title}  {image.id.partition(':')[2][:12]}  {image.platform}  {human_size(image.size)}")
            stack = list(reversed(image.layers))
            for place, layer in enumerate(stack):
                branch = "└" if place == len(stack) - 1 else "├"
                mark = "=" if layer.also_in else "─"
                notes = [f"shared with {', '.join(layer.also_in)}"] if layer.also_in else []
                if layer.shared_files:
                    notes.append(f"{human_size(layer.shared_files)} in files that other layers have too")
                result.append("  ".join((f"{branch}{mark} {hex_of(layer.diff_id)[:12]}", human_size(layer.size), *notes)))
        return result


def tree(store: Store, names: Sequence[str] = ()) -> Tree:
    """The tree of the images `names`, of all when none is given. Raises NotFound, Conflict, DataLoss."""
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
    wanted = [str(find(store, name).id) for name in names] if names else list(shown)
    return Tree([_image(store, shown[image_id], titles, users) for image_id in dict.fromkeys(wanted)])


def _image(store: Store, image: Image, titles: dict[str, list[str]], users: dict[DiffID, list[str]]) -> TreeImage:
    layers = []
    for diff_id in config_of(image).diff_ids:
        info = _info(store, diff_id)
        others = [user for user in users[diff_id] if user != str(image.id)]
        layers.append(TreeLayer(diff_id, info.size, info.shared_bytes, [_title(titles, user) for user in others]))
    return TreeImage(str(image.id), titles[str(image.id)], image.platform.text, image_size(store, image), layers)


def _info(store: Store, diff_id: DiffID) -> LayerInfo:
    """What is known of a layer; nothing of a missing or damaged one, which hides no other."""
    try:
        return layer_info(store, diff_id)
    except (NotFound, DataLoss):
        return LayerInfo(diff_id)


def _title(titles: dict[str, list[str]], image_id: str) -> str:
    return titles[image_id][0] if titles[image_id] else image_id.partition(":")[2][:12]
