"""`tag`: a further name for an image."""

from __future__ import annotations

from estiba.engine import event_log
from estiba.engine.new_image import new_name
from estiba.oci.reference import Reference
from estiba.store import images
from estiba.store.layout import Store


def tag(store: Store, source: str, target: str) -> Reference:
    """Lets `target` stand for the image that `source` means; a name that stood for another image is taken from it.

    Raises NotFound, Conflict for an ambiguous id, InvalidArgument.
    """
    name = new_name(store, target, "tag as")
    image = images.find(store, source)
    images.tag(store, image, name)
    event_log.image(store, "tag", str(image.id), name.familiar)
    return name
