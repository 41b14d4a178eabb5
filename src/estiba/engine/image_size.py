"""How large an image is: the sum of its layers, each once."""

from __future__ import annotations

from estiba.store.images import Image
from estiba.store.layers import layer_info
from estiba.store.layout import Store


def image_size(store: Store, image: Image) -> int:
    """Bytes of the image's files, as Docker's SIZE column counts them: layers shared with other images count too.

    Raises NotFound, DataLoss.
    """
    return sum(layer_info(store, diff_id).size for diff_id in dict.fromkeys(image.layers))
