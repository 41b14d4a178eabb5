"""`events`: what happened and happens to containers and images, from the file that engine/event_log.py writes."""

from __future__ import annotations

import os
import time
from datetime import UTC
from typing import TYPE_CHECKING, Any

from estiba.engine import event_log
from estiba.engine.filters import split
from estiba.engine.units import parse_moment
from estiba.errors import DataLoss, InvalidArgument
from estiba.oci.strict_json import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from estiba.store.layout import Store

    Event = dict[str, Any]

_PAUSE_SECONDS = 0.05
_CHUNK = 1 << 20
_FILTERS = ("container", "event", "image", "label", "scope", "type")
#: Kinds of objects that Docker has and estiba has not, or not yet: no event is of one.
_NEVER = ("config", "daemon", "network", "node", "plugin", "secret", "service", "volume")


def events(store: Store, *, since: str = "", until: str = "", filters: Sequence[str] = ()) -> Iterator[Event]:
    """Yields events as objects of Docker's API, in the order in which they happened.

    Parameters: `since` and `until`, times as `parse_moment` reads them; without `since` only what happens from now on, without `until`
    for ever; `filters` as Docker's. Raises InvalidArgument before the first event.
    """
    begin, end = _nanoseconds("--since", since), _nanoseconds("--until", until)
    accept = _filter(filters)
    return _accepted(_Reader(event_log.path(store.runtime, store.containers), begin, end), accept)


def _nanoseconds(flag: str, text: str) -> int | None:
    if not text:
        return None
    whole, point, fraction = text.partition(".")
    if whole.isascii() and whole.isdigit() and (not point or fraction.isdigit()) and len(whole) < 12 and len(fraction) < 10:
        return int(whole) * 10**9 + int(fraction.ljust(9, "0"))  # to the nanosecond, as `.TimeNano` shows it
    moment = parse_moment(text)
    if moment is None:
        raise InvalidArgument(
            f"cannot use {flag} {text!r}: not a time", hint="for example 10m, 1h30m, 2026-01-31T12:00:00Z, or seconds since 1970"
        )
    return int(moment.astimezone(UTC).timestamp()) * 10**9 + moment.microsecond * 1000


def _accepted(reader: _Reader, accept: Callable[[Event], bool]) -> Iterator[Event]:
    names: dict[str, str] = {}
    for event in reader.events():
        actor = event["Actor"]
        if event["Action"] == "rename":
            names[actor["ID"]] = actor["Attributes"]["name"]
        elif actor["ID"] in names:  # what the helper tells of a container was written when it was started
            actor["Attributes"]["name"] = names[actor["ID"]]
        if reader.is_wanted(event) and accept(event):
            yield event


class _Reader:
    """The lines of the file and of the one before it, from `begin` to `end` (ns since 1970, None: from now on, for ever)."""

    def __init__(self, path: str, begin: int | None, end: int | None) -> None:
        self._path = path
        self._end = end
        self._begin = time.time_ns() if begin is None else begin
        self._file = -1
        self._rest = b""

    def is_wanted(self, event: Event) -> bool:
        return self._begin <= event["timeNano"] and (self._end is None or event["timeNano"] <= self._end)

    def events(self) -> Iterator[Event]:
        current, before = self._open(self._path), self._open(f"{self._path}.1")
        try:
            if before >= 0 and not _same(before, current):
                yield from self._events(before)
            self._rest, self._file = b"", current
            while True:
                over = self._end is not None and time.time_ns() > self._end
                yield from self._events(self._file)
                if over:
                    return
                if not self._follow():
                    time.sleep(_PAUSE_SECONDS)
        finally:
            for descriptor in (self._file, before):
                if descriptor >= 0:
                    os.close(descriptor)

    def _follow(self) -> bool:
        """Goes to the file that has taken the place of the one that is read; False while there is none."""
        newest = self._open(self._path)
        if newest < 0 or _same(newest, self._file):
            if newest >= 0:
                os.close(newest)
            return False
        if self._file >= 0:
            os.close(self._file)
        self._rest, self._file = b"", newest
        return True

    @staticmethod
    def _open(path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return -1

    def _events(self, descriptor: int) -> Iterator[Event]:
        while descriptor >= 0 and (data := os.read(descriptor, _CHUNK)):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                try:
                    event = loads(line, what="an event", raw_bytes=True)
                except DataLoss:
                    continue  # a full disk cut it
                if isinstance(event, dict) and "timeNano" in event:
                    yield event


def _same(first: int, second: int) -> bool:
    return first >= 0 and second >= 0 and os.fstat(first).st_ino == os.fstat(second).st_ino


def _filter(filters: Sequence[str]) -> Callable[[Event], bool]:
    """Several of one kind are alternatives, but for labels; kinds add up."""
    wanted: dict[str, list[str]] = {}
    for kind, value in split(filters, _FILTERS, silent=_NEVER):
        wanted.setdefault(kind, []).append(value)
    return lambda event: all(_matches(event, kind, values) for kind, values in wanted.items())


def _matches(event: Event, kind: str, values: Sequence[str]) -> bool:
    identity, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    if kind == "label":
        return all(_has_label(attributes, value) for value in values)
    if kind == "event":  # `health_status` stands for each of its words
        return any(event["Action"] == value or event["Action"].startswith(f"{value}:") for value in values)
    if kind in ("type", "scope"):
        return event["Type" if kind == "type" else "scope"] in values
    if kind == "container":
        return event["Type"] == "container" and any(
            name.startswith(value) for value in values for name in (identity, attributes.get("name", ""))  # as Docker
        )
    if kind == "image":
        named = [attributes.get("image", "")] if event["Type"] == "container" else [identity, attributes.get("name", "")]
        return any(name == value or name.rpartition(":")[0] == value for name in named for value in values if name)
    return False


def _has_label(attributes: Mapping[str, str], text: str) -> bool:
    key, separator, value = text.partition("=")
    return key in attributes and (not separator or attributes[key] == value)
