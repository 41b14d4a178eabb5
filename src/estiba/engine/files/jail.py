"""Asks `estiba-init files` about a container's files, and sends it changes. Errors of a path are `JailError`.

Where the container has a kernel of its own that kernel answers, which is a stranger: what it says is read as far as it can be true.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING

from estiba.config.settings import Settings
from estiba.errors import Conflict, DataLoss, EstibaError, FailedPrecondition, PermissionDenied, ResourceExhausted
from estiba.plan import ops
from estiba.plan.encode import encode_op
from estiba.store.layers.jail import Helper
from estiba.store.layers.pax import show

if TYPE_CHECKING:
    from estiba.plan.ops import Op

#: The trees of a view: the container's root, and its changes as they are on disk.
ROOT, UPPER = 0, 1
#: How `stat` resolves: below the base; as the container would, but for a link at the end; that one too.
BELOW, LINK, ALL = 0, 1, 2

_STATUS = Struct("<IIIIQQQqIIII")
_PART = Struct("<QQ")
_PIECE = 1 << 18
_FAILED = re.compile(rb"^failed ([a-z-]+) (\d{1,4}) (\S*)$", re.MULTILINE | re.ASCII)
_LAUNCH = re.compile(rb"^launch (\S+) (\d{1,4}) ([^\t\n]*)(?:\t([^\n]*))?$", re.MULTILINE | re.ASCII)

#: What there is at most: NAME_MAX, PATH_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX, XATTR_LIST_MAX (linux/limits.h), MAX_ERRNO (linux/err.h), and
#: parts of a file (helper/src/files_ask.c).
_NAME, _PATH, _XATTR_NAME, _XATTR, _XATTR_LIST, _ERRNO, _PARTS = 255, 4096, 255, 1 << 16, 1 << 16, 4095, 1024
_SIZE, _SECOND = (1 << 63) - 1, 10**9
#: Bytes of all extended attributes of an entry, as much as the reader of layers takes.
_ATTRIBUTES = 1 << 20


class JailError(OSError):
    """A path in the container: `errno`, and `filename` as bytes."""


class Status:
    """What stat(2) says of an entry, and a symbolic link's `target`. Owners are ids of the container."""

    __slots__ = ("device", "gid", "inode", "links", "major", "minor", "mode", "mtime", "nanoseconds", "size", "target", "uid")

    def __init__(self, fields: tuple[int, ...], target: bytes) -> None:
        self.mode, self.uid, self.gid, self.links, self.device, self.inode, self.size = fields[:7]
        self.mtime, self.nanoseconds, self.major, self.minor = fields[7:11]
        self.target = target

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_whiteout(self) -> bool:
        """Overlayfs's mark of a removed name."""
        return stat.S_ISCHR(self.mode) and self.major == self.minor == 0


class Listing:
    """A folder: its `status`, extended attributes, and (name, status) of its `entries`, sorted."""

    __slots__ = ("entries", "status", "xattrs")

    def __init__(self, status: Status, xattrs: dict[bytes, bytes], entries: list[tuple[bytes, Status]]) -> None:
        self.status = status
        self.xattrs = xattrs
        self.entries = entries


class Content:
    """A regular file that is being read: the (offset, length) `parts` that are no holes, whose bytes `take` hands out in order."""

    __slots__ = ("parts", "status", "xattrs")

    def __init__(self, status: Status, xattrs: dict[bytes, bytes], parts: list[tuple[int, int]]) -> None:
        self.status = status
        self.xattrs = xattrs
        self.parts = parts


class FileJail(Helper):
    """A view of a container's files. `views` makes it."""

    def __init__(self, settings: Settings, mode: str, plan: Sequence[Op], keep: Sequence[int], *, what: str) -> None:
        super().__init__(settings, mode, plan, keep, what=what)
        self.max_entries = settings.unpack_max_inodes
        self.changed: list[bytes] = []  # files that changed while they were read

    # --- questions ---------------------------------------------------------------------------------------------------------

    def ask(self, *questions: Op) -> None:
        """Sends questions. More than fit into a pipe would wait for answers that nobody reads: see `walk`."""
        for question in questions:
            self.send(encode_op(question))
        self.flush()

    def base(self, path: bytes, tree: int = ROOT) -> None:
        """Later paths are below this folder, which is resolved as the container would."""
        self.ask(ops.files_base(tree, path))
        self._check(path)

    def stat(self, path: bytes, follow: int = BELOW, tree: int = ROOT) -> Status:
        self.ask(ops.files_stat(tree, path, follow))
        return self.stat_answer(path)

    def find(self, path: bytes, follow: int = BELOW, tree: int = ROOT) -> Status | None:
        """`stat`, or None where there is nothing."""
        try:
            return self.stat(path, follow, tree)
        except JailError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            return None

    def stat_answer(self, path: bytes) -> Status:
        self._check(path)
        return self._status()

    def list(self, path: bytes, tree: int = ROOT) -> Listing:
        """Raises ResourceExhausted for more entries than one layer may have."""
        self.ask(ops.files_list(tree, path))
        self._check(path)
        listing = Listing(self._status(), self._xattrs(), [])
        self._demand(listing.status.is_folder)
        while length := self._number():
            listing.entries.append((self._entry_name(length), self._status()))
            if len(listing.entries) > self.max_entries:
                raise too_many(self.what, self.max_entries)
        self._check(path)
        listing.entries.sort(key=lambda entry: entry[0])
        return listing

    def read(self, path: bytes, tree: int = ROOT) -> Content:
        """Begins to read a file; what `take` hands out must be taken to its end, then `end_of_content`."""
        self.ask(ops.files_read(tree, path))
        return self.read_answer(path)

    def read_answer(self, path: bytes) -> Content:
        self._check(path)
        status, xattrs = self._status(), self._xattrs()
        self._demand(status.is_file)
        return Content(status, xattrs, [*self._content(status.size)])

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes of the file that is being read."""
        while size:
            piece = self._exactly(min(size, _PIECE))
            size -= len(piece)
            yield piece

    def end_of_content(self, path: bytes) -> None:
        """Notes a file that became shorter: zeros stand for what was missing."""
        if self._number():
            self.changed.append(path)

    def finish(self) -> None:
        """Ends the input, waits for the helper; raises what it reports."""
        self.flush()
        self._close_input()
        self._demand(not self.receive(1))  # everything was asked for
        if self.wait() != 0:
            raise self.failure()

    # --- bytes ---------------------------------------------------------------------------------------------------------------

    def _demand(self, possible: bool) -> None:
        """Raises DataLoss for an answer that no helper of ours gives."""
        if not possible:
            raise DataLoss(f"cannot {self.what}: its kernel answers what makes no sense")

    def _exactly(self, size: int) -> bytes:
        data = self.receive(size)
        if len(data) < size:
            raise self.failure()
        return data

    def _text(self, size: int, most: int) -> bytes:
        self._demand(size <= most)
        text = self._exactly(size)
        self._demand(b"\0" not in text)
        return text

    def _entry_name(self, size: int) -> bytes:
        """Of one entry of a folder, so that it leads to nothing else where it is made."""
        name = self._text(size, _NAME)
        self._demand(name not in (b".", b"..") and b"/" not in name)
        return name

    def _number(self) -> int:
        return int.from_bytes(self._exactly(4), "little")

    def _check(self, path: bytes) -> None:
        if number := self._number():
            self._demand(number <= _ERRNO)
            raise JailError(number, os.strerror(number), path)

    def _status(self) -> Status:
        fields = _STATUS.unpack(self._exactly(_STATUS.size))
        status = Status(fields, self._text(fields[11], _PATH))
        self._demand(status.size <= _SIZE and status.nanoseconds < _SECOND)
        return status

    def _xattrs(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        names = total = 0
        while length := self._number():
            name, size = self._text(length, _XATTR_NAME), self._number()
            names += length + 1
            self._demand(size <= _XATTR and names <= _XATTR_LIST)
            total += size
            if total > _ATTRIBUTES:
                raise ResourceExhausted(f"cannot {self.what}: a file has more than {_ATTRIBUTES >> 20} MiB of extended attributes")
            found[name] = self._exactly(size)
        return found

    def _content(self, size: int) -> Iterator[tuple[int, int]]:
        """Parts, which are in order and in the file."""
        count, end = self._number(), 0
        self._demand(count <= _PARTS)
        for _ in range(count):
            offset, length = _PART.unpack(self._exactly(_PART.size))
            self._demand(end <= offset <= size and length <= size - offset)
            end = offset + length
            yield offset, length

    def last_words(self, said: bytes = b"") -> bytes:
        """What the helper says until it ends: on standard error, for its output is answers, in which the container may say anything."""
        while self.receive(_PIECE):
            pass
        return said + self.errors()

    def failure(self, said: bytes = b"") -> EstibaError:
        """The error that the helper reports, when it has ended or is about to."""
        return _error(self.what, self.last_words(said), self.wait())


def too_many(what: str, limit: int) -> ResourceExhausted:
    """The error for a tree without end."""
    return ResourceExhausted(
        f"cannot {what}: it has more than {limit} files", hint="raise unpack-max-inodes in the configuration if you trust the container"
    )


def _error(what: str, said: bytes, status: int) -> EstibaError:
    match = _LAUNCH.search(said)
    if match:
        step, number, text = match[1].decode(), int(match[2]), match[3].decode("utf-8", "backslashreplace")
        hint = match[4].decode("utf-8", "backslashreplace") if match[4] else None
        if step == "join" and number in (errno.ESRCH, errno.EINVAL):
            return Conflict(f"cannot {what}: it ended at this moment", hint="try again")
        return FailedPrecondition(f"cannot {what}: {step} {text}", hint=hint)
    match = _FAILED.search(said)
    if match is None:
        words = said.decode("utf-8", "replace").strip().splitlines()
        return FailedPrecondition(f"cannot {what}: estiba-init ended with status {status}{': ' + words[-1] if words else ''}")
    return cause_of(what, int(match[2]), re.sub(rb"\\([0-7]{3})", lambda m: bytes((int(m[1], 8) & 255,)), match[3]))


_CAUSES = {
    errno.EISDIR: "a folder is there, and what is copied is none",
    errno.ENOTDIR: "something is there that is no folder",
    errno.EROFS: "it is read-only",
    errno.ELOOP: "a symbolic link is there",
    errno.ESTALE: "a program of the container replaced it meanwhile",
    errno.EINVAL: "its owner has no place in the container's ids, or the name is not possible",
}


def cause_of(what: str, number: int, path: bytes) -> EstibaError:
    """The error of a path in the container."""
    message = f"cannot {what}: {show(path) + ': ' if path else ''}{_CAUSES.get(number) or os.strerror(number)}"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted(message, hint="free space, for example with: estiba image prune")
    if number in (errno.EACCES, errno.EPERM):
        return PermissionDenied(message)
    if number == errno.EROFS:
        return FailedPrecondition(message)
    return Conflict(message)
