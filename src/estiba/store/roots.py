"""What keeps content alive: references, and the state.json of containers. On the start path, but for `mark`."""

from __future__ import annotations

import os

from estiba.errors import DataLoss, InvalidArgument
from estiba.oci.digest import ImageID, is_hex, parse_diff_id, parse_digest
from estiba.oci.strict_json import get_str, get_str_list, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.oci.digest import DiffID, Digest
    from estiba.store.layout import Store

_STATE_LIMIT = 1024 * 1024


class ContainerRoots:
    """What a container stands on: its `id`, the id of its `image` and its `layers`, lowest first."""

    __slots__ = ("id", "image", "layers")

    def __init__(self, container: str, image: ImageID, layers: list[DiffID]) -> None:
        self.id = container
        self.image = image
        self.layers = layers


class Marked:
    """Content in use: digests of `blobs`, DiffIDs of `layers`."""

    __slots__ = ("blobs", "layers")

    def __init__(self) -> None:
        self.blobs: set[Digest] = set()
        self.layers: set[DiffID] = set()


def containers(store: Store) -> Iterator[ContainerRoots]:
    """What every container stands on: members ``image`` and ``layers`` of its state.json.

    A container's folder without state.json is one that is being made or was never finished. Raises DataLoss.
    """
    for name in sorted(os.listdir(store.containers)):
        if is_hex(name):
            found = container_roots(store, name)
            if found is not None:
                yield found


def container_roots(store: Store, container: str) -> ContainerRoots | None:
    """What the container with this id stands on, None when it has no state.json. Raises DataLoss."""
    what = f"the state of container {container[:12]}"
    try:
        with open(f"{store.containers}/{container}/state.json", "rb") as file:
            document = loads(file.read(_STATE_LIMIT + 1), what=what, limit=_STATE_LIMIT, raw_bytes=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataLoss(f"cannot read {what}: {error.strerror}") from None
    try:
        layers = [parse_diff_id(text) for text in get_str_list(document, "layers", what)]
        image = get_str(document, "image", what, "")
        return ContainerRoots(container, ImageID(parse_digest(image) if image else ""), layers)
    except InvalidArgument as error:
        raise DataLoss(f"cannot read {what}: {error.message}") from None


def mark(store: Store) -> Marked:
    """Everything that a reference or a container leads to.

    Fails closed: what cannot be read might lead to anything, so DataLoss is raised and nothing may be removed.
    """
    from estiba.store import references

    def refuse(_: str, error: DataLoss) -> None:
        raise DataLoss(error.message, hint=_HINT)

    marked = Marked()
    for _, target in references.all(store, damaged=refuse):
        if target.digest not in marked.blobs:
            mark_document(store, target.digest, marked)
        for entry in target.images:
            mark_document(store, entry.manifest, marked)
            mark_image(store, entry.config, marked)
    for container in containers(store):
        marked.layers.update(container.layers)
        if container.image:
            mark_image(store, container.image, marked)
    return marked


_HINT = "repair it with: estiba system check --repair"


def mark_image(store: Store, image: ImageID, marked: Marked) -> None:
    """Marks a configuration and its layers; a configuration that is gone leads nowhere."""
    from estiba.errors import NotFound
    from estiba.oci.image_config import parse_image_config
    from estiba.store.blobs import read_blob

    digest = parse_digest(image)
    if digest in marked.blobs:
        return
    marked.blobs.add(digest)
    try:
        marked.layers.update(parse_image_config(read_blob(store, digest)).diff_ids)
    except NotFound:
        return
    except DataLoss as error:
        raise DataLoss(error.message, hint=_HINT) from None


def mark_document(store: Store, digest: Digest, marked: Marked) -> None:
    """Marks a manifest with its blobs, or an index with those of its entries that are here."""
    from estiba.errors import EstibaError, NotFound
    from estiba.oci.manifest import Index, parse_manifest
    from estiba.store.blobs import has_blob, read_blob

    if digest in marked.blobs:
        return
    marked.blobs.add(digest)
    try:
        document = parse_manifest(read_blob(store, digest))
    except NotFound:
        return
    except EstibaError as error:
        raise DataLoss(error.message, hint=_HINT) from None
    if isinstance(document, Index):
        for entry in document.manifests:
            if has_blob(store, entry.digest):
                mark_document(store, entry.digest, marked)
    else:
        marked.blobs.update(layer.digest for layer in document.layers)
        mark_image(store, ImageID(document.config.digest), marked)
