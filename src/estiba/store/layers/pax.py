"""Extended headers of tar archives: POSIX pax records and the numbers in them.

Sources: POSIX.1-2017 pax(1) "pax Extended Header"; the keys of GNU tar (GNU.sparse.*) and of star (SCHILY.xattr.*). Everything is ASCII
digits or it is refused: a reader that accepts more than its neighbours lists other files than they do.
"""

from __future__ import annotations

XATTR = b"SCHILY.xattr."

# What a global header may not change: readers disagree on whether it applies to the members that follow.
_MEMBER_KEYS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"))


class Malformed(ValueError):
    """The cause, without the place: the reader adds the offset."""


def decimal(text: bytes, key: bytes) -> int:
    """A non-negative decimal number of ASCII digits below 2^63."""
    if not text.isdigit() or len(text) > 19:  # bytes.isdigit knows ASCII only, unlike str.isdigit
        raise Malformed(f"{show(key)} {show(text)} is not a decimal number")
    value = int(text)
    if value >= 1 << 63:
        raise Malformed(f"{show(key)} {show(text)} is out of range")
    return value


def seconds(text: bytes, key: bytes) -> tuple[int, int]:
    """A pax time (`-`digits`.`digits): whole seconds rounded down, and nanoseconds."""
    negative = text[:1] == b"-"
    whole, _, fraction = (text[1:] if negative else text).partition(b".")
    if fraction and not fraction.isdigit():
        raise Malformed(f"{show(key)} {show(text)} is not a time")
    value = decimal(whole, key)
    nanoseconds = int(fraction[:9].ljust(9, b"0")) if fraction else 0
    if not negative:
        return value, nanoseconds
    return (-value, 0) if not nanoseconds else (-value - 1, 1_000_000_000 - nanoseconds)


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records `length key=value` and newline of an extended header, in order."""
    found: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(data):
        if data[position] == 0 and not data[position:].strip(b"\0"):
            break  # some writers pad the size with NUL
        space = data.find(b" ", position, position + 20)
        if space < 0:
            raise Malformed("an extended header record without a length")
        end = position + decimal(data[position:space], b"record length")
        if end > len(data) or end <= space + 1 or data[end - 1] != 10:
            raise Malformed("an extended header record whose length is wrong")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or b"\0" in key:
            raise Malformed("an extended header record that is not key=value")
        found.append((key, value))
        position = end
    return found


def check_global(data: bytes) -> None:
    """A global header may carry comments; one that changes members is refused."""
    for key, _ in records(data):
        if key in _MEMBER_KEYS or key.startswith((XATTR, b"GNU.sparse.")):
            raise Malformed(f"a global extended header that sets {show(key)}")


def show(text: bytes, limit: int = 200) -> str:
    """Bytes of an archive for a message: quoted, control characters escaped, cut."""
    shown = text[:limit].decode("utf-8", "backslashreplace")
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return f"'{escaped}{'...' if len(text) > limit else ''}'"
