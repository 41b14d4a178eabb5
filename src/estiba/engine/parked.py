"""Guests that were parked, from which the next ones begin: files that QEMU wrote (helper/src/machine_park.c).

``cache/parked/<fingerprint>`` fits one machine only: the same monitor, kernel, arguments, helper and disks, since the same boot of
the host, and the same done before it was parked. ``<fingerprint>.disk`` is the disk of a container's changes at that moment, where it was
in use. Who finds none parks its own guest while it starts; others that start meanwhile boot. On the start path of `run` on QEMU.
"""

from __future__ import annotations

import fcntl
import os

from estiba.engine.fingerprint import fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

#: Files that are kept, the newest; each has some twenty megabytes.
KEPT = 16
_MARK = b"\nESTIBA PARKED\n"  # helper/src/machine_park.h
_DISK = ".disk"


class Parked:
    """A parked guest's file, open: `whole`, or to be written by a guest that starts; and that of its `disk`, -1 where it has none."""

    __slots__ = ("descriptor", "disk", "whole")

    def __init__(self, descriptor: int, disk: int, *, whole: bool) -> None:
        self.descriptor = descriptor
        self.disk = disk
        self.whole = whole


def find(store: Store, settings: Settings, parts: Iterable[object], *, with_disk: bool) -> Parked | None:
    """Returns the file of the machine that `parts` tell from every other; None while somebody else writes it.

    Raises OSError.
    """
    folder = f"{store.cache}/parked"
    path = f"{folder}/{_fingerprint(settings, parts)}"
    disk = path + _DISK if with_disk else ""
    if (parked := _whole(path, disk)) is not None:
        return parked
    _make_room(folder)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # for as long as a process of that guest has the file
    except BlockingIOError:
        os.close(descriptor)
        return None
    if (parked := _whole(path, disk)) is not None:
        os.close(descriptor)
        return parked
    os.ftruncate(descriptor, 0)
    return Parked(descriptor, os.open(disk, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600) if disk else -1, whole=False)


def _whole(path: str, disk: str) -> Parked | None:
    """The files of a guest that is parked; read-only, for a guest that went astray must not change where others begin."""
    try:
        reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if _is_whole(reader):
            return Parked(reader, os.open(disk, os.O_RDONLY | os.O_CLOEXEC) if disk else -1, whole=True)
    except FileNotFoundError:
        pass  # its disk is gone: it is parked anew
    os.close(reader)
    return None


def _fingerprint(settings: Settings, parts: Iterable[object]) -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return fingerprint(settings, file.read(), *parts)


def _is_whole(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > len(_MARK) and os.pread(descriptor, len(_MARK), size - len(_MARK)) == _MARK


def _make_room(folder: str) -> None:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    ages = sorted(((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(folder) if not entry.name.endswith(_DISK)), reverse=True)
    for _, path in ages[KEPT - 1 :]:
        os.unlink(path)
        if os.path.exists(path + _DISK):
            os.unlink(path + _DISK)
