"""`logs`: what a container has written, and with `follow` what it goes on writing."""

from __future__ import annotations

import fcntl
import os
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from estiba.engine import containers
from estiba.engine.log_files import Files
from estiba.engine.units import parse_moment
from estiba.errors import FailedPrecondition, InvalidArgument
from estiba.oci.strict_json import get_dict, get_str_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings
    from estiba.engine.log_files import Position, Record
    from estiba.store.layout import Store

#: How often a log that is followed is looked at: soon after something came, then less and less often.
_SHORTEST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1
_CHUNK = 64 * 1024

#: The stream that a sentence of estiba itself has: bytes are missing here.
NOTE = 0

Piece = tuple[int, bytes]


class Query:
    """What is asked for: `since` and `until` in the log's own form, `tail` lines or None for all of them.

    Raises InvalidArgument for a text that is no time or no number.
    """

    __slots__ = ("details", "follow", "since", "tail", "timestamps", "until")

    def __init__(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: str = "all",
        timestamps: bool = False,
        details: bool = False,
    ) -> None:
        self.follow = follow
        self.since = _stamp("--since", since)
        self.until = _stamp("--until", until)
        self.tail = _tail(tail)
        self.timestamps = timestamps
        self.details = details


def _stamp(flag: str, text: str) -> bytes:
    """A time as the log writes it, so that bytes compare as times do; nanoseconds are kept."""
    if not text:
        return b""
    written = re.fullmatch(r"([^.]+)\.(\d{1,9})(Z|[+-]\d\d:\d\d|)", text, re.ASCII)
    moment = parse_moment(written[1] + written[3] if written else text)
    if moment is None:
        raise InvalidArgument(
            f"cannot use {flag} {text!r}: not a time", hint="for example 10m, 1h30m, 2026-01-31T12:00:00Z, or seconds since 1970"
        )
    moment = moment.astimezone(UTC)
    fraction = written[2].ljust(9, "0") if written else f"{moment.microsecond:06}000"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}Z".encode("ascii")


def _tail(text: str) -> int | None:
    if text == "all" or re.fullmatch(r"-\d{1,18}", text, re.ASCII):
        return None
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise InvalidArgument(f"cannot use --tail {text!r}: not a number of lines", hint="a number, or all")
    return int(text)


def logs(store: Store, settings: Settings, name: str, query: Query) -> Iterator[Piece]:
    """Yields what the container wrote: 1 or 2 for the stream and bytes, or `NOTE` and a sentence about bytes that are missing.

    A container that is removed meanwhile is read to its end. Raises NotFound, Conflict (an ambiguous id), FailedPrecondition for a
    container that keeps no log.
    """
    container = containers.find(store, name)
    if container.log.get("driver") == "none":
        raise FailedPrecondition(f"cannot show the log of container {container.name}: it keeps none (--log-driver none)")
    return _gathered(_read(container.folder, query, _details(container) if query.details else b""))


def _details(container: containers.Container) -> bytes:
    """The labels and variables that --log-opt names, as Docker shows them: sorted, escaped as in a URL, a blank behind."""
    from urllib.parse import quote_plus

    what = f"{container.folder}/config.json"
    given = dict(text.partition("=")[::2] for text in get_str_list(get_dict(container.spec(), "process", what), "env", what, []))
    chosen = {name: given[name] for name in get_str_list(container.log, "env", what, []) if name in given}
    chosen |= {name: container.labels[name] for name in get_str_list(container.log, "labels", what, []) if name in container.labels}
    return ",".join(f"{quote_plus(name)}={quote_plus(chosen[name])}" for name in sorted(chosen)).encode("ascii") + b" "


def _read(path: str, query: Query, details: bytes) -> Iterator[Piece]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    files = Files(folder)
    try:
        yield from _Reader(files, folder, query, details).pieces()
    finally:
        files.close()
        os.close(folder)


class _Reader:
    """`details` is what --details puts before a line."""

    def __init__(self, files: Files, folder: int, query: Query, details: bytes) -> None:
        self.files = files
        self.folder = folder
        self.query = query
        self.details = details
        self.starts: dict[int, Position] = {}
        self.within = {1: False, 2: False}  # whether the stream is in the middle of a line
        self.shown = {1: False, 2: False}  # and whether that line is shown
        self.over = False  # what is newer than --until has come

    def pieces(self) -> Iterator[Piece]:
        if self.query.tail is not None and self.files.files:
            self.starts = self.files.start_of_tail(self.query.tail)
            self.files.skip_to(min(self.starts.values()))
        pause = _SHORTEST_PAUSE
        while not self.over:
            runs = self.query.follow and _is_running(self.folder)  # asked first: afterwards nothing is written any more
            some = False
            for piece in self._new_pieces():
                some = True
                yield piece
            if not runs or (self.query.until and self.query.until < _now()):
                return
            yield NOTE, b""  # what was gathered is shown before it is waited for more
            pause = _SHORTEST_PAUSE if some else min(pause * 2, _LONGEST_PAUSE)
            time.sleep(pause)

    def _new_pieces(self) -> Iterator[Piece]:
        for position, record in self.files.records():
            if self.starts and position < self.starts[record.stream]:
                continue
            if self.query.until and record.time > self.query.until:
                self.over = True
                return
            if self.files.gap:
                self.files.gap = False
                yield NOTE, b"parts of the log were rotated away before they were read"
            if record.dropped:
                yield NOTE, b"standard %s: %s" % (b"output" if record.stream == 1 else b"error", record.text)
            elif text := self._text(record):
                yield record.stream, text

    def _text(self, record: Record) -> bytes:
        """The record as it is shown; a line is shown as a whole, or not at all."""
        stream, prefix = record.stream, b""
        if not self.within[stream]:
            self.shown[stream] = record.time >= self.query.since
            prefix = (record.time + b" " if self.query.timestamps else b"") + self.details
        self.within[stream] = record.partial
        return prefix + record.text + (b"" if record.partial else b"\n") if self.shown[stream] else b""


def _is_running(folder: int) -> bool:
    """Whether keeper or monitor lives: they hold the lock of `status` (helper/PROTOCOL.md)."""
    try:
        status = os.open("status", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(status, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(status)
    return False


def _now() -> bytes:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z".encode("ascii")


def _gathered(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Joins pieces of one stream, so that they are written at once."""
    stream, parts, size = NOTE, [b""], 0
    for now, piece in pieces:
        if now != stream or size > _CHUNK or now == NOTE:
            if any(parts):
                yield stream, b"".join(parts)
            stream, parts, size = now, [], 0
        parts.append(piece)
        size += len(piece)
    if any(parts):
        yield stream, b"".join(parts)
