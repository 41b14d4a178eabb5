"""`images`: the images of the store, as rows with Docker's fields."""

from __future__ import annotations

from collections.abc import Sequence

from estiba.engine.image_filters import config_of, created, image_filter, matches_pattern
from estiba.engine.units import created_at, created_since, human_size
from estiba.store.images import Image, list_images
from estiba.store.layout import Store
from estiba.store.usage import image_size

NONE = "<none>"


class ImageRow:
    """One name of one image. The upper-case attributes are the fields of Docker's `--format`; `size` is in bytes."""

    def __init__(self, image: Image, size: int) -> None:
        moment = created(image)
        self.ID = str(image.id)
        self.Repository = NONE if image.reference.is_dangling else image.reference.familiar_name
        self.Tag = image.reference.tag or NONE
        self.Digest = str(image.target.digest)
        self.CreatedSince = created_since(moment)
        self.CreatedAt = created_at(moment)
        self.Size = human_size(size)
        self.size = size


def images(
    store: Store,
    *,
    all: bool = False,  # noqa: A002 - Docker's flag
    filters: Sequence[str] = (),
    reference: str | None = None,
) -> list[ImageRow]:
    """The images, newest first as Docker lists them.

    Parameters: `all`, also images without a name that a named index holds for other platforms or that only containers use; without
    it those are shown too when a filter asks for dangling ones; `filters`, see `image_filters`; `reference`, a name or pattern.
    Raises InvalidArgument, NotFound, DataLoss.
    """
    accept = image_filter(store, filters, ("dangling", "label", "before", "since", "until", "reference"))
    found = [image for image in list_images(store) if accept(image)]
    if reference is not None:
        found = [image for image in found if matches_pattern(image, reference)]
    found.sort(key=lambda image: image.reference.familiar)
    found.sort(key=lambda image: config_of(image).created_seconds or 0, reverse=True)
    return [ImageRow(image, image_size(store, image)) for image in found]
