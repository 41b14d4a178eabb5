"""The highest owner of a layer, read in the time that a start has for it. On the start path."""

from __future__ import annotations

import os

from estiba.errors import DataLoss
from estiba.oci.digest import hex_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.oci.digest import DiffID
    from estiba.store.layout import Store

_LIMIT = 4 * 1024 * 1024
_KEYS = (b'"highestUID":[', b'"highestGID":[')


def highest_id(store: Store, diff_id: DiffID) -> int | None:
    """Returns the highest uid or gid that a file of the layer has; None when the store does not hold the layer.

    layer.json is our own compact JSON, and its two numbers are found in it without reading it as a whole: an image may have
    hundreds of layers. Raises DataLoss when they are not there.
    """
    try:
        descriptor = os.open(f"{store.layers}/{hex_of(diff_id)}/layer.json", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        data = os.read(descriptor, _LIMIT)
    finally:
        os.close(descriptor)
    return max(_number_behind(data, key, diff_id) for key in _KEYS)


def _number_behind(data: bytes, key: bytes, diff_id: DiffID) -> int:
    digits = data.rpartition(key)[2].partition(b",")[0]
    if not digits.isdigit():
        raise DataLoss(f"cannot read layer.json of layer {diff_id}: it is damaged", hint="estiba system check --repair")
    return int(digits)
