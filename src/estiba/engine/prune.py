"""`image prune`: images that nobody names, or with `all` that no container uses, and the content that then nothing needs.
`system prune`: before that, the containers that have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from estiba.config.settings import Settings
from estiba.engine import containers as ended
from estiba.engine import event_log
from estiba.engine.df import tree_size
from estiba.engine.image_filters import image_filter
from estiba.engine.ps_filters import prune_filter
from estiba.engine.rm import Removal, give_back
from estiba.engine.rmi import Removed, collected, tell
from estiba.engine.units import human_size
from estiba.errors import Conflict, NotFound
from estiba.store import gc, images
from estiba.store.layout import Store
from estiba.store.roots import containers


@dataclass(frozen=True)
class Pruned:
    """What went, and the bytes of disk that came free."""

    removed: list[Removed]
    freed: int

    def lines(self) -> list[str]:
        """What Docker prints."""
        heading = ["Deleted Images:", *(f"{item.kind.lower()}: {item.what}" for item in self.removed), ""]
        return [*(heading if self.removed else []), f"Total reclaimed space: {human_size(self.freed, 4)}"]


def prune(store: Store, *, all: bool = False, filters: Sequence[str] = ()) -> Pruned:  # noqa: A002 - Docker's flag
    """Removes images and collects garbage.

    Parameters: `all`, also images with names that no container uses; `filters`: `until=`, `label=`, `label!=`.
    Raises InvalidArgument, DataLoss.
    """
    accept = image_filter(store, filters, ("until", "label"))
    busy = {str(container.image) for container in containers(store)}
    removed: list[Removed] = []
    for image in images.list_images(store):
        wanted = str(image.id) not in busy and (all or image.reference.is_dangling)
        if not wanted or not accept(image):
            continue
        name = str(image.id) if image.reference.is_dangling else image.reference.canonical
        try:
            gone = images.remove(store, name)
        except (NotFound, Conflict):  # it went with another of its names, or a container has just taken it
            continue
        tell(store, str(image.id), gone)
        removed += [Removed("Untagged", reference.familiar) for reference in gone.untagged]
        removed += [Removed("Deleted", str(image_id)) for image_id in gone.deleted]
    freed = gc.collect(store)
    event_log.prune(store, "image", freed.size)
    return Pruned(removed + collected(freed), freed.size)


def prune_containers(store: Store, settings: Settings, filters: Sequence[str] = ()) -> Pruned:
    """Removes the containers that have ended or never ran, with what they wrote.

    Parameters: `filters`: `until=`, `label=`, `label!=`. Raises InvalidArgument, DataLoss when a container's state cannot be read.
    """
    removed, freed = [], 0
    accept = prune_filter(filters)
    for container in ended.list_containers(store):
        if container.status not in ("exited", "created") or not accept(container):
            continue
        size = tree_size(container.folder)
        try:
            removed.append(Removed("Deleted", Removal(store, settings, container.id).finish()))
        except (NotFound, Conflict):  # another command was faster, or has just started it
            continue
        freed += size
    give_back(store, settings)
    event_log.prune(store, "container", freed)
    return Pruned(removed, freed)
