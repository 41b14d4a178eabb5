"""`stack`: an image of several images, one on the other, without writing a layer.

`explain` names what the stack takes away from sight. It reads the tars of the layers (rebuilt by the store) rather than the
unpacked trees, so that it sees files that only another id may read, and devices that were recorded and not made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from estiba.engine.new_image import add_image, new_name
from estiba.engine.stack_configs import stack_configs, unique_layers
from estiba.errors import InvalidArgument
from estiba.oci import media_types
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID
from estiba.oci.platform import parse_platform
from estiba.store.images import Image, find
from estiba.store.layers import open_tar, tar
from estiba.store.layout import Store

__all__ = ["Hidden", "explain", "stack", "stack_configs"]

WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"  # image-spec, layer.md, "Whiteouts"


@dataclass(frozen=True)
class Hidden:
    """One file that cannot be seen in the stack.

    `path` in the root directory; `of`, the image whose file it is; `by`, the image that hides it; `kind`: `replaced` by another
    file, `removed` by a whiteout, or `covered` because a folder above it became something else.
    """

    path: str
    by: str
    of: str
    kind: str


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


@dataclass(frozen=True)
class _Seen:
    """A file in sight: whose it is, and what it is (two equal files hide nothing of each other)."""

    image: int
    identity: bytes
    is_directory: bool


def explain(store: Store, names: Sequence[str], *, platform: str | None = None) -> list[Hidden]:
    """The files of the stack's images that another image above hides, by path.

    What an image hides of its own lower layers is its own affair and left out, and so is a file that is replaced by an equal one.
    Raises NotFound, InvalidArgument, DataLoss.
    """
    with store.using():
        images = find_all(store, names, platform)
        stack_configs([image.config for image in images])
        view = _View(names)
        last = {diff_id: number for number, image in enumerate(images) for diff_id in image.layers}
        for number, image in enumerate(images):
            for diff_id in unique_layers(image.layers):
                if last[diff_id] == number:  # a layer of a higher image as well is in the stack there only
                    view.add_layer(number, _entries(store, diff_id))
        return sorted(view.hidden, key=lambda each: each.path)


@dataclass(frozen=True)
class _Member:
    path: str
    is_directory: bool
    identity: bytes


def _entries(store: Store, diff_id: DiffID) -> Iterator[_Member]:
    """The members of a layer's tar; whiteouts keep their names."""
    chunks = open_tar(store, diff_id)
    reader = tar.TarReader(lambda: next(chunks, b""), what=f"layer {diff_id}")
    content = dict[str, bytes]()
    for entry in reader:
        path = "/" + "/".join(part for part in entry.name.decode("utf-8", "surrogateescape").split("/") if part not in ("", "."))
        hasher = hashlib.sha256(repr((entry.kind, entry.mode, entry.uid, entry.gid, entry.parts, entry.xattrs)).encode())
        if entry.kind == tar.HARD_LINK:
            target = "/" + entry.link.decode("utf-8", "surrogateescape").lstrip("/")
            yield _Member(path, False, content.get(target, b""))
            continue
        hasher.update(entry.link)
        for chunk in reader.chunks():
            hasher.update(chunk)
        content[path] = hasher.digest()
        yield _Member(path, entry.kind == tar.DIRECTORY, content[path])


class _View:
    """The files in sight while layer after layer is put on the stack."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._children: dict[str, set[str]] = {}
        self._seen: dict[str, _Seen] = {}
        self.hidden: list[Hidden] = []

    def add_layer(self, image: int, members: Iterator[_Member]) -> None:
        """Whiteouts work on the layers below only (layer.md), so they come first and the layer's own files after them."""
        kept: dict[str, _Member] = {}
        for member in members:
            folder, _, name = member.path.rpartition("/")
            raw = name.encode("utf-8", "surrogateescape")
            if raw == OPAQUE:
                for child in list(self._children.get(folder, ())):
                    self._take_away(f"{folder}/{child}", image, "removed")
            elif raw.startswith(WHITEOUT):
                self._take_away(f"{folder}/{name[len(WHITEOUT):]}", image, "removed")
            else:
                kept[member.path] = member
        for path in sorted(kept):
            self._put(kept[path], image)

    def _put(self, member: _Member, image: int) -> None:
        before = self._seen.get(member.path)
        if before and not (before.is_directory and member.is_directory):
            if before.is_directory:
                for child in list(self._children.get(member.path, ())):
                    self._take_away(f"{member.path}/{child}", image, "covered")
            elif before.identity != member.identity:
                self._hide(member.path, before, image, "replaced")
        folder, _, name = member.path.rpartition("/")
        self._children.setdefault(folder, set()).add(name)
        self._seen[member.path] = _Seen(image, member.identity, member.is_directory)

    def _take_away(self, path: str, image: int, kind: str) -> None:
        for child in list(self._children.pop(path, ())):
            self._take_away(f"{path}/{child}", image, kind)
        before = self._seen.pop(path, None)
        folder, _, name = path.rpartition("/")
        self._children.get(folder, set()).discard(name)
        if before and not before.is_directory:
            self._hide(path, before, image, kind)

    def _hide(self, path: str, before: _Seen, image: int, kind: str) -> None:
        if before.image != image:
            self.hidden.append(Hidden(path, self._names[image], self._names[before.image], kind))
