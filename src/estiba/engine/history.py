"""`history`: how an image was made, the newest step first."""

from __future__ import annotations

from estiba.engine.stack_configs import aligned_history
from estiba.engine.units import created_at, created_since, human_size, parse_time
from estiba.oci.platform import parse_platform
from estiba.store.images import find
from estiba.store.layers import layer_info
from estiba.store.layout import Store

MISSING = "<missing>"


class HistoryRow:
    """One step. The upper-case attributes are the fields of Docker's `--format`; `size` is in bytes."""

    def __init__(self, step: dict[str, object], image_id: str, size: int) -> None:
        moment = parse_time(step.get("created"))
        self.ID = image_id
        self.CreatedSince = created_since(moment)
        self.CreatedAt = created_at(moment)
        self.CreatedBy = _text(step, "created_by")
        self.Comment = _text(step, "comment")
        self.Size = human_size(size)
        self.size = size


def history(store: Store, name: str, *, platform: str | None = None) -> list[HistoryRow]:
    """The steps of an image, each with the size of the layer it made; a layer without a step has an empty one.

    Only the newest step has an id (the image's), the others `<missing>`, as in Docker. Raises NotFound, Conflict, DataLoss.
    """
    image = find(store, name, parse_platform(platform) if platform else None)
    layers = iter(image.layers)
    sized = []
    for step in aligned_history(image.config):
        makes_layer = step.get("empty_layer") is not True
        sized.append((step, layer_info(store, next(layers)).size if makes_layer else 0))
    sized.reverse()
    return [HistoryRow(step, MISSING if at else str(image.id), size) for at, (step, size) in enumerate(sized)]


def _text(step: dict[str, object], key: str) -> str:
    value = step.get(key)
    return value if isinstance(value, str) else ""
