"""What happens to containers and images, as a file that `events` reads. On the start path.

``<runtime directory>/stores/<store>.events``: one line of JSON for each event, as Docker's API tells it, appended under flock(2) on the
file by whoever does the thing: the verbs, and for what happens to a running program its keeper and monitor (helper/ops.toml, `events`),
whose lines are written beforehand. The file becomes ``.events.1`` when it is long. What cannot be written is not told: no verb fails
for it. See decision 019.
"""

from __future__ import annotations

import os
from time import sleep, time_ns

from estiba.linux.locks import try_flock
from estiba.oci.strict_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from estiba.store.layout import Store

    Lines = tuple[bytes, bytes, bytes, bytes, bytes, bytes]

    class Subject(Protocol):
        """A container that something happens to."""

        id: str
        folder: str
        runtime: str
        name: str
        reference: str
        labels: dict[str, str]


LONGEST = 1 << 20
# Bytes of a line that stand for the moment; others do for the exit code, and a terminal's rows and columns (helper/ops.toml).
_SECONDS, _NANOSECONDS = b"\1", b"\2"
_CODE, _ROWS, _COLUMNS = "\3", "\4", "\5"
# As long as the helper waits for a lock whose holder was stopped.
_TRIES, _PAUSE_SECONDS = 200, 0.005


class Actor:
    """A container that is not on the disk yet. Attributes as those of `Container`."""

    __slots__ = ("folder", "id", "labels", "name", "reference", "runtime")

    def __init__(self, folder: str, runtime: str, name: str, reference: str, labels: dict[str, str]) -> None:
        self.id = os.path.basename(folder)
        self.folder = folder
        self.runtime = runtime
        self.name = name
        self.reference = reference
        self.labels = labels


def folder(runtime: str) -> str:
    """Where the files of all stores are that share a folder of volatile state."""
    return f"{runtime}/stores"


def store_key(containers: str) -> str:
    """What tells a store from others: its folder of containers."""
    status = os.stat(containers)
    return f"{status.st_dev}-{status.st_ino}"


def path(runtime: str, containers: str) -> str:
    """The file of the store with this folder of containers."""
    return f"{folder(runtime)}/{store_key(containers)}.events"


def path_for(subject: Subject) -> str:
    """The file of a container's store."""
    return path(subject.runtime, os.path.dirname(subject.folder))


def container(subject: Subject, *actions: str, **attributes: str) -> None:
    """Tells that `actions` happened to a container, just now and in this order."""
    _append(path_for(subject), [_container_line(subject, action, attributes) for action in actions])


def image(store: Store, action: str, image_id: str, name: str) -> None:
    """Tells that `action` happened to an image."""
    _append(path(store.runtime, store.containers), [_line("image", action, image_id, {"name": name}, {"status": action, "id": image_id})])


def prune(store: Store, kind: str, freed: int) -> None:
    """Tells that what is not used of a `kind` was removed, and the bytes that came free."""
    _append(path(store.runtime, store.containers), [_line(kind, "prune", "", {"reclaimed": str(freed)}, {"status": "prune", "id": ""})])


def lines(subject: Subject) -> Lines:
    """What the helper tells of a container: start, oom, die, destroy, detach, resize."""
    simple = {action: _container_line(subject, action, {}) for action in ("start", "oom", "destroy", "detach")}
    die = _with_numbers(subject, "die", {}, exitCode=_CODE)
    resize = _with_numbers(subject, "resize", {}, height=_ROWS, width=_COLUMNS)
    return simple["start"], simple["oom"], die, simple["destroy"], simple["detach"], resize


def exec_lines(subject: Subject, command: Sequence[str]) -> Lines:
    """Tells that `command` is about to be executed in a container, and returns what the helper tells of it, as `lines`."""
    words = " ".join(command)
    mark = {"execID": os.urandom(32).hex()}
    container(subject, f"exec_create: {words}", **mark)
    die = _with_numbers(subject, "exec_die", mark, exitCode=_CODE)
    return _container_line(subject, f"exec_start: {words}", mark), b"", die, b"", _container_line(subject, "exec_detach", mark), b""


def _with_numbers(subject: Subject, action: str, attributes: Mapping[str, str], **numbers: str) -> bytes:
    """A line whose `numbers` the helper puts in."""
    line = _container_line(subject, action, {**attributes, **numbers})
    for byte in numbers.values():
        line = line.replace(dumps(byte), b'"%b"' % byte.encode("ascii"))
    return line


def _container_line(subject: Subject, action: str, attributes: Mapping[str, str]) -> bytes:
    own = {**subject.labels, **attributes, "image": subject.reference, "name": subject.name}
    return _line("container", action, subject.id, own, {"status": action, "id": subject.id, "from": subject.reference})


def _line(kind: str, action: str, actor: str, attributes: Mapping[str, str], old: Mapping[str, str]) -> bytes:
    """An event without its moment; `old` are members that the API had first and still has."""
    text = dumps({**old, "Type": kind, "Action": action, "Actor": {"ID": actor, "Attributes": attributes}, "scope": "local"})
    return text[:-1] + b',"time":' + _SECONDS + b',"timeNano":' + _NANOSECONDS + b"}"


def _append(target: str, events: list[bytes]) -> None:
    try:
        descriptor = _open_locked(target)
        try:
            now = time_ns()
            moment = {1: str(now // 10**9).encode("ascii"), 2: str(now).encode("ascii")}
            text = b"".join(line.replace(_SECONDS, moment[1]).replace(_NANOSECONDS, moment[2]) + b"\n" for line in events)
            os.write(descriptor, text)
        finally:
            os.close(descriptor)
    except OSError:
        return


def _open_locked(target: str) -> int:
    """The file, locked, and a new one when it is long."""
    for attempt in range(_TRIES + 1):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            continue
        locked = try_flock(descriptor)
        mine = os.fstat(descriptor)
        if locked and mine.st_nlink and mine.st_ino == os.stat(target).st_ino:
            if mine.st_size < LONGEST:
                return descriptor
            os.rename(target, f"{target}.1")
        elif attempt == _TRIES:
            return descriptor
        elif not locked:
            sleep(_PAUSE_SECONDS)
        os.close(descriptor)
    raise FileNotFoundError(target)
