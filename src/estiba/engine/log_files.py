"""Reads a container's log: records in the CRI format, in files that the monitor rotates meanwhile (helper/PROTOCOL.md, "Log").

Files are held open and known by their inode, so that one that is renamed or removed is still read to its end, and the next younger one
follows it: nothing is lost and nothing is seen twice. A file that was rotated away before it was opened is lost, which `Files.gap` tells.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 256 * 1024
_BETWEEN_REFRESHES = 4096
_FURTHEST = 16 * 1024 * 1024
_STAMP = 30  # 2006-01-02T15:04:05.123456789Z
_NAMES = {b"stdout": 1, b"stderr": 2}

#: Where a record begins: the number of its file, and the offset.
Position = tuple[int, int]


class Record:
    """One record. `stream` is 1 or 2; `partial` that the line goes on; `dropped` that the text tells of bytes that are missing here."""

    __slots__ = ("dropped", "partial", "stream", "text", "time")

    def __init__(self, time: bytes, stream: int, tags: bytes, text: bytes) -> None:
        self.time = time
        self.stream = stream
        self.partial = tags == b"P"
        self.dropped = tags == b"F:dropped"
        self.text = text


def parse(line: bytes) -> Record | None:
    """The record of a line without its end; None for what is none (a power cut may leave half of one)."""
    stream = _NAMES.get(line[_STAMP + 1 : _STAMP + 7])
    tags, blank, text = line[_STAMP + 8 :].partition(b" ")
    if stream is None or not blank or tags[:1] not in (b"F", b"P") or line[_STAMP - 1 : _STAMP + 1] != b"Z ":
        return None
    return Record(line[:_STAMP], stream, tags, text)


class File:
    """One open file of the log."""

    __slots__ = ("descriptor", "identity", "number", "offset", "rest")

    def __init__(self, descriptor: int, identity: tuple[int, int], number: int) -> None:
        self.descriptor = descriptor
        self.identity = identity
        self.number = number
        self.offset = 0  # of the next byte to read
        self.rest = b""  # the line at whose end the file ended for now

    def lines(self) -> Iterator[tuple[Position, bytes]]:
        """The complete lines from `offset` on, as far as they are written."""
        while data := os.pread(self.descriptor, _BLOCK, self.offset):
            at = self.offset - len(self.rest)
            self.offset += len(data)
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                yield (self.number, at), line
                at += len(line) + 1

    def lines_backward(self) -> Iterator[tuple[Position, bytes]]:
        """The lines that are complete now, from the last to the first."""
        end = os.fstat(self.descriptor).st_size
        rest: bytes | None = None  # the beginning of what was read so far, in the middle of a line
        while end > 0:
            begin = max(0, end - _BLOCK)
            data = os.pread(self.descriptor, end - begin, begin)
            if rest is None:
                data, newline, _ = data.rpartition(b"\n")
                rest = b"" if newline else None
            if rest is not None:
                rest, *lines = (data + rest).split(b"\n")
                at = begin + len(rest) + sum(map(len, lines)) + len(lines)
                for line in reversed(lines):
                    at -= len(line)
                    yield (self.number, at), line
                    at -= 1
            end = begin
        if rest is not None:
            yield (self.number, 0), rest


class Files:
    """The files of a log, the oldest first. `folder` is a descriptor of the container's folder; whoever makes this closes both."""

    __slots__ = ("files", "folder", "gap", "name")

    def __init__(self, folder: int, name: str = "log") -> None:
        self.folder = folder
        self.name = name
        self.gap = False
        self.files: list[File] = []
        self.refresh()

    def close(self) -> None:
        """Closes the files."""
        while self.files:
            os.close(self.files.pop().descriptor)

    def refresh(self) -> None:
        """Opens the files that are younger than those that are open. `gap` says that there may have been others in between."""
        names = self._names()
        while not self._open(names):
            names = self._names()

    def _names(self) -> list[tuple[str, tuple[int, int]]]:
        """The names and inodes of the files now, the oldest first."""
        found = []
        for name in os.listdir(self.folder):
            number = name.removeprefix(self.name + ".")
            if name == self.name or (name != number and number.isdecimal()):
                try:
                    status = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    found.append((0 if name == self.name else int(number), name, (status.st_dev, status.st_ino)))
        return [(name, identity) for _, name, identity in sorted(found, reverse=True)]

    def _open(self, names: list[tuple[str, tuple[int, int]]]) -> bool:
        """Opens what is new of `names`; False when they were moved meanwhile, and nothing was changed."""
        known = {file.identity for file in self.files}
        newer = [index for index, (_, identity) in enumerate(names) if identity in known]
        begin = newer[-1] + 1 if newer else 0
        opened: list[tuple[int, tuple[int, int]]] = []
        for name, identity in names[begin:]:
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.folder)
            except FileNotFoundError:
                break
            status = os.fstat(descriptor)
            opened.append((descriptor, identity))
            if (status.st_dev, status.st_ino) != identity:
                break
        else:
            if names == self._names():
                self.gap |= bool(self.files) and len(names) > 1 and not newer  # a log of one file is always gone when it was rotated
                for descriptor, identity in opened:
                    number = self.files[-1].number + 1 if self.files else 0
                    self.files.append(File(descriptor, identity, number))
                return True
        for descriptor, _ in opened:
            os.close(descriptor)
        return False

    def records(self) -> Iterator[tuple[Position, Record]]:
        """The records that were written since the last call, as far as they are complete."""
        self.refresh()
        while self.files:
            for count, found in enumerate(_parsed(self.files[0].lines())):
                if count % _BETWEEN_REFRESHES == _BETWEEN_REFRESHES - 1:
                    self.refresh()  # a file that is open cannot be rotated away
                yield found
            self.refresh()
            if len(self.files) == 1:
                return
            yield from _parsed(self.files[0].lines())  # what came between its last line and the rotation
            os.close(self.files.pop(0).descriptor)

    def start_of_tail(self, count: int) -> dict[int, Position]:
        """Where the last `count` lines begin: for each stream the position of its first record among them. It is read from the end.

        A line may be of several records, and those of the other stream may lie between them; a part that is further away than
        _FURTHEST bytes is not looked for.
        """
        further = 0
        starts: dict[int, Position] = {}
        unfinished: dict[int, bool] = {}  # streams that were seen: whether the beginning of the line is still to be found
        for position, record in self._backward():
            if record.dropped:
                continue
            stream = record.stream
            if not record.partial or stream not in unfinished:
                unfinished[stream] = count > 0
                count -= 1
            if unfinished[stream]:
                starts[stream] = position
            if count <= 0:
                further += len(record.text) + _STAMP
                if further > _FURTHEST or not any(unfinished.values()):
                    break
        end = self.files[-1].number, os.fstat(self.files[-1].descriptor).st_size
        return {stream: starts.get(stream, end) for stream in (1, 2)}

    def _backward(self) -> Iterator[tuple[Position, Record]]:
        for file in reversed(self.files):
            yield from _parsed(file.lines_backward())

    def skip_to(self, position: Position) -> None:
        """Leaves out what is before a position."""
        while self.files[0].number < position[0]:
            os.close(self.files.pop(0).descriptor)
        self.files[0].offset = position[1]


def _parsed(lines: Iterator[tuple[Position, bytes]]) -> Iterator[tuple[Position, Record]]:
    for position, line in lines:
        record = parse(line)
        if record is not None:
            yield position, record
