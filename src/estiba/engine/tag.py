"""`tag`: a further name for an image."""

from __future__ import annotations

from estiba.engine.new_image import new_name
from estiba.oci.reference import Reference
from estiba.store import images
from estiba.store.layout import Store


def tag(store: Store, source: str, target: str) -> Reference:
    """Lets `target` stand for the image that `source` means; a name that stood for another image is taken from it.

    Raises NotFound, Conflict for an ambiguous id, InvalidArgument.
    """
    name = new_name(store, target, "tag as")
    images.tag(store, images.find(store, source), name)
    return name
