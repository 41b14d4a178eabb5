"""The JSON documents of a container's folder. On the start path."""

from __future__ import annotations

from estiba.engine import status
from estiba.oci.strict_json import as_dict, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT = 4 * 1024 * 1024


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON object of a container's folder. Raises FileNotFoundError, DataLoss."""
    data = status.read_file(path, _LIMIT + 1)
    return as_dict(loads(data, what=path, limit=_LIMIT, raw_bytes=True), path)
