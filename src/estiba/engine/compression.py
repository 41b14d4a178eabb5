"""Undoes the compression of a whole archive: gzip, bzip2, xz, zstd, by the magic number at its start, within a budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from estiba.errors import ResourceExhausted
from estiba.store.layers import inflate as layers_inflate


def inflate(chunks: Iterable[bytes], what: str, budget: int) -> Iterator[bytes]:
    """The plain bytes of an archive; zeros behind its streams are padding.

    Parameters: `what`, the archive's name in messages; `budget`, how many bytes may come out. Raises DataLoss for damage,
    ResourceExhausted beyond the budget.
    """
    total = 0
    for piece in layers_inflate.inflate(chunks, "detect", what=f"read {what}", padding=True):
        total += len(piece)
        if total > budget:
            raise ResourceExhausted(
                f"cannot read {what}: it holds more than {budget} bytes", hint="raise unpack_max_bytes in the configuration"
            )
        yield piece
