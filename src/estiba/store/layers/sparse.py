"""Sparse members: old GNU headers and the three pax formats (0.0, 0.1, 1.0) of GNU tar.

Source: the GNU tar manual, "Storing Sparse Files". A map is a list of (offset, length) of the parts that the archive holds.
"""

from __future__ import annotations

from estiba.store.layers.pax import Malformed, decimal, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Map = list[tuple[int, int]]


def check(parts: Map, real_size: int, stored: int) -> Map:
    """The map when it is in order, without overlap, inside the file, and as long as what is stored."""
    end = 0
    total = 0
    if real_size < 0:
        raise Malformed("a sparse file of negative size")
    for offset, length in parts:
        if length < 0 or offset < end or offset + length > real_size:
            raise Malformed("a sparse map whose parts overlap or leave the file")
        end = offset + length
        total += length
    if total != stored:
        raise Malformed(f"a sparse map of {total} bytes over {stored} stored bytes")
    return parts


def old_gnu(header: bytes, more: Callable[[], bytes], number: Callable[[bytes], int]) -> tuple[Map, int]:
    """The map in an old GNU header and its extension blocks, and the real size."""
    parts: Map = []

    def take(block: bytes, start: int, count: int) -> None:
        for position in range(start, start + 24 * count, 24):
            if block[position + 12] == 0 and block[position] == 0:
                return
            parts.append((number(block[position : position + 12]), number(block[position + 12 : position + 24])))

    take(header, 386, 4)
    extended = header[482]
    real_size = number(header[483:495])
    while extended:
        if len(parts) > 1 << 16:
            raise Malformed("a sparse map of more than 65536 parts")
        block = more()
        take(block, 0, 21)
        extended = block[504]
    return parts, real_size


def pax_map(values: list[tuple[bytes, bytes]]) -> Map | None:
    """The map of the formats 0.0 (repeated keys) and 0.1 (one list); None for format 1.0."""
    numbers: list[int] = []
    for key, value in values:
        if key == b"GNU.sparse.map":
            numbers = [decimal(n, key) for n in value.split(b",")] if value else []
        elif key == b"GNU.sparse.offset":
            if len(numbers) % 2:
                raise Malformed("a sparse map with an offset but no length")
            numbers.append(decimal(value, key))
        elif key == b"GNU.sparse.numbytes":
            if len(numbers) % 2 == 0:
                raise Malformed("a sparse map with a length but no offset")
            numbers.append(decimal(value, key))
        elif key in (b"GNU.sparse.major", b"GNU.sparse.minor"):
            return None
    if len(numbers) % 2:
        raise Malformed("a sparse map with an odd count of numbers")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def version(values: dict[bytes, bytes]) -> None:
    """Refuses sparse formats that are not 1.0 by their name."""
    major, minor = values.get(b"GNU.sparse.major"), values.get(b"GNU.sparse.minor")
    if (major, minor) != (b"1", b"0"):
        raise Malformed(f"sparse format {show(major or b'?')}.{show(minor or b'?')}")


def stored_map(more: Callable[[], bytes]) -> tuple[Map, int]:
    """The map of format 1.0, which stands before the data as lines of decimals, and the bytes that it took."""
    text = b""
    used = 0

    def line() -> int:
        nonlocal text, used
        while b"\n" not in text:
            if used >= 1 << 20:
                raise Malformed("a sparse map of more than 1 MiB")
            text += more()
            used += 512
        head, _, text = text.partition(b"\n")
        return decimal(head, b"sparse map")

    count = line()
    if count > 1 << 16:
        raise Malformed("a sparse map of more than 65536 parts")
    return [(line(), line()) for _ in range(count)], used
