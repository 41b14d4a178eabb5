"""What is copied: entries as tar knows them (`store.layers.tar.Entry`), each with the means to take a file's content."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator

from estiba.store.layers import tar
from estiba.store.layers.tar import Entry

Buffer = bytes | memoryview
#: Hands out the next bytes of the file at hand, in pieces.
Take = Callable[[int], Iterator[Buffer]]
#: Content must be taken before the next entry is asked for: of a file with `parts` theirs, else `size` bytes.
Source = Iterator[tuple[Entry, Take]]
#: Hears what could not be copied, as a sentence without a verb.
Tell = Callable[[str], object]

_KINDS = {stat.S_IFREG: tar.FILE, stat.S_IFDIR: tar.DIRECTORY, stat.S_IFLNK: tar.SYMLINK, stat.S_IFIFO: tar.FIFO}
OPAQUE = b"user.overlay.opaque"
CAPABILITY = b"security.capability"
_ATTRIBUTES = frozenset((CAPABILITY, b"system.posix_acl_access", b"system.posix_acl_default"))


def nothing(size: int) -> Iterator[Buffer]:
    """The content of what is no file."""
    return iter(())


def kind_of(mode: int) -> int | None:
    """The tar type of a file mode; None for sockets and devices, which no archive of ours holds."""
    return _KINDS.get(stat.S_IFMT(mode))


def kept(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """The extended attributes that are content: those of users, capabilities and access lists, not overlayfs's marks."""
    found = {
        name: value
        for name, value in xattrs.items()
        if name in _ATTRIBUTES or (name.startswith(b"user.") and not name.startswith(b"user.overlay."))
    }
    return found or None


def stretches(entry: Entry) -> list[tuple[int, int]]:
    """The (offset, length) of a file's content that its source holds."""
    return [(0, entry.size)] if entry.parts is None else entry.parts


def set_parts(entry: Entry, parts: list[tuple[int, int]]) -> None:
    """What of a file of `real_size` is no hole. One part that is all of it is a plain file."""
    whole = parts == [(0, entry.real_size)] or (not parts and entry.real_size == 0)
    entry.parts = None if whole else parts
    entry.size = entry.real_size if whole else sum(length for _, length in parts)
