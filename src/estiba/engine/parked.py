"""Guests that were parked after their boot, from which the next ones begin: files that QEMU wrote (helper/src/machine_park.c).

``cache/parked/<fingerprint>`` fits one machine only: the same monitor, kernel, arguments, helper and sizes of disks, since the same boot of
the host. Who finds none parks its own guest while it starts; others that start meanwhile boot. On the start path of `run` on QEMU.
"""

from __future__ import annotations

import fcntl
import os
from _blake2 import blake2b  # without hashlib, which takes milliseconds

from estiba.plan.helper import helper_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

#: Files that are kept, the newest; each has some twenty megabytes.
KEPT = 16
_MARK = b"\nESTIBA PARKED\n"  # helper/src/machine_park.h


class Parked:
    """A parked guest's file, open: `whole`, or to be written by a guest that starts."""

    __slots__ = ("descriptor", "whole")

    def __init__(self, descriptor: int, *, whole: bool) -> None:
        self.descriptor = descriptor
        self.whole = whole


def find(store: Store, settings: Settings, parts: Iterable[str]) -> Parked | None:
    """Returns the file of the machine that `parts` tell from every other; None while somebody else writes it.

    Raises OSError.
    """
    folder = f"{store.cache}/parked"
    path = f"{folder}/{_fingerprint(settings, parts)}"
    try:
        reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a guest that went astray must not change where others begin
    except FileNotFoundError:
        _make_room(folder)
    else:
        if _is_whole(reader):
            return Parked(reader, whole=True)
        os.close(reader)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # for as long as a process of that guest has the file
    except BlockingIOError:
        os.close(descriptor)
        return None
    if _is_whole(descriptor):
        os.close(descriptor)
        return Parked(os.open(path, os.O_RDONLY | os.O_CLOEXEC), whole=True)
    os.ftruncate(descriptor, 0)
    return Parked(descriptor, whole=False)


def _fingerprint(settings: Settings, parts: Iterable[str]) -> str:
    """A name for what tells machines apart, which nobody else can make: the path of a kernel is what its image says."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read()
    helper = os.stat(helper_path(settings))
    text = "\0".join((boot, str(helper.st_ino), str(helper.st_mtime_ns), *parts))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _is_whole(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > len(_MARK) and os.pread(descriptor, len(_MARK), size - len(_MARK)) == _MARK


def _make_room(folder: str) -> None:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    ages = sorted(((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(folder)), reverse=True)
    for _, path in ages[KEPT - 1 :]:
        os.unlink(path)
