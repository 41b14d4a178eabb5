"""`rmi`: a name goes, and with the last one the image and what no other image needs."""

from __future__ import annotations

from dataclasses import dataclass

from estiba.engine import event_log
from estiba.errors import Conflict
from estiba.oci.platform import parse_platform
from estiba.store import gc, images, references
from estiba.store.layout import Store
from estiba.store.references import Target
from estiba.store.roots import containers


@dataclass(frozen=True)
class Removed:
    """One thing that went: `kind` is `Untagged` or `Deleted`, `what` a name, an image id or a DiffID."""

    kind: str
    what: str

    @property
    def line(self) -> str:
        """What Docker prints."""
        return f"{self.kind}: {self.what}"


def rmi(store: Store, name: str, *, force: bool = False, prune: bool = True, platform: str | None = None) -> list[Removed]:
    """Removes a name, or by id all names of an image.

    Parameters: `force`, also an image with several names that is given by its id, and the names of an image that a container uses;
    `prune`, the content that nothing needs any more as well; `platform`, only the image for it among those of the name.
    Raises NotFound, Conflict (in use, ambiguous, several names).
    """
    if platform and (gone := _remove_platform(store, name, platform, force=force)):
        return gone + (collected(gc.collect(store)) if prune else [])
    image_id = str(images.find(store, name).id)
    removed = images.remove(store, name, force=force)
    tell(store, image_id, removed)
    lines = [Removed("Untagged", reference.familiar) for reference in removed.untagged]
    lines += [Removed("Deleted", str(image_id)) for image_id in removed.deleted]
    return lines + (collected(gc.collect(store)) if prune and removed.deleted else [])


def tell(store: Store, image_id: str, removed: images.Removed) -> None:
    """The events of a removal; Docker's have the image's id for its name as well."""
    for _ in removed.untagged:
        event_log.image(store, "untag", image_id, image_id)
    for deleted in removed.deleted:
        event_log.image(store, "delete", str(deleted), str(deleted))


def collected(freed: gc.Freed) -> list[Removed]:
    """The layers that a collection removed."""
    return [Removed("Deleted", str(diff_id)) for diff_id in freed.layers]


def _remove_platform(store: Store, name: str, platform: str, *, force: bool) -> list[Removed]:
    """Takes one of several platforms from a name; nothing when it is the only one, which then goes as a whole."""
    image = images.find(store, name, parse_platform(platform))
    user = next((container.id for container in containers(store) if container.image == image.id), None)
    if user and not force:
        raise Conflict(f"cannot remove image {name!r} for {platform}: container {user[:12]} stands on it", hint="or use --force")
    before = image.target
    left = [entry for entry in before.images if entry.config != image.id]
    if not left:
        return []
    if not references.replace(store, image.reference, Target(before.media_type, before.digest, before.size, left)):
        raise Conflict(f"cannot remove image {name!r} for {platform}: the name stands for something else now")
    references.write_index(store)
    return [Removed("Deleted", str(image.id))]
