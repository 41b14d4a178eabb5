"""Locks between processes: flock(2) on files that are made for it.

The kernel drops a lock when the last descriptor of its open file description is closed, so a killed process holds none, and
a child that inherits the descriptor keeps it. Order: content > index > reference > layer > container > network (see
`estiba.store`); with the setting `debug` a lock taken out of order is an error (`check_order`). On the start path.
"""

from __future__ import annotations

import fcntl
import os
import time
from _thread import get_ident

from estiba.errors import Conflict, NotFound, PermissionDenied, ResourceExhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

#: Seconds until a waiting command says what it waits for.
MESSAGE_AFTER = 2.0
#: Rank of each kind of lock: one may be taken only while locks of lower rank (or of the same, for layers) are held.
ORDER = {"content": 0, "index": 1, "reference": 2, "layer": 3, "container": 4, "network": 5}

#: Seconds that a command waits for a lock, None for ever.
_patience: float | None = None
#: Kinds of the locks that each thread holds; None while the order is not checked.
_held: dict[int, list[str]] | None = None


def check_order(enabled: bool) -> None:
    """Switches the check of the lock order on or off, for this process (debugging and tests)."""
    global _held
    if enabled is not (_held is not None):
        _held = {} if enabled else None


def limit_waiting(seconds: int) -> None:
    """Bounds how long this process waits for a lock for which no other time is given; 0: for ever (the setting `lock-timeout`)."""
    global _patience
    _patience = float(seconds) or None


class Lock:
    """One lock, as a context manager.

    Parameters: `path` of the lock file, made when missing; `shared` for a reader's lock; `what`, the object for messages;
    `timeout` in seconds, None for that of `limit_waiting`; 0 to try once; `kind`, a key of `ORDER`.
    Raises Conflict when the time is over, NotFound when the object's folder is gone, PermissionDenied or ResourceExhausted when the
    file cannot be made.
    """

    __slots__ = ("descriptor", "kind", "path", "shared", "timeout", "what")

    def __init__(self, path: str, shared: bool = False, what: str = "", *, timeout: float | None = None, kind: str = "") -> None:
        self.path = path
        self.shared = shared
        self.what = what or path
        self.timeout = timeout
        self.kind = kind
        self.descriptor = -1

    def acquire(self) -> Self:
        """Takes the lock."""
        if _held is not None and self.kind:
            _check(self.kind)
        _wait(self._try, self.path, self.what, _patience if self.timeout is None else self.timeout)
        if _held is not None and self.kind:
            _held.setdefault(get_ident(), []).append(self.kind)
        return self

    def release(self) -> None:
        """Gives the lock up."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            mine = [] if _held is None else _held.get(get_ident(), [])
            if self.kind in mine:
                mine.remove(self.kind)

    def remove(self) -> None:
        """Removes the lock file, which must be held exclusively; one who waits for it starts over with a new one."""
        if self.descriptor >= 0 and not self.shared:
            os.unlink(self.path)

    def _try(self) -> bool:
        """Opens the file and tries to lock it; a file that was removed meanwhile does not count."""
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            there = os.stat(self.path)
            mine = os.fstat(descriptor)
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                self.descriptor, descriptor = descriptor, -1
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return False

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY, 0o600)
        except FileNotFoundError:
            raise NotFound(f"cannot lock {self.what}: it is not there any more") from None
        except PermissionError as error:
            raise PermissionDenied(f"cannot lock {self.what}: {self.path}: {error.strerror}") from None
        except OSError as error:
            raise ResourceExhausted(f"cannot lock {self.what}: {self.path}: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def try_flock(descriptor: int) -> bool:
    """Tries to take an exclusive flock(2) on an open file or folder; False when somebody holds one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_flock(descriptor: int, path: str, what: str, timeout: float) -> None:
    """Takes an exclusive flock(2) on the open file or folder at `path`, as `Lock` does. Raises Conflict when the time is over."""
    _wait(lambda: try_flock(descriptor), path, what, timeout)


def _wait(attempt: Callable[[], bool], path: str, what: str, timeout: float | None) -> None:
    began = time.monotonic()
    told = False
    pause = 0.001
    while not attempt():
        waited = time.monotonic() - began
        if timeout is not None and waited >= timeout:
            raise Conflict(f"cannot lock {what}: {_holder(path)} uses it", hint="try again when it is done")
        if waited >= MESSAGE_AFTER and not told:
            told = True
            _tell(f"estiba: waiting for {_holder(path)}, which uses {what}\n")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _check(kind: str) -> None:
    for held in [] if _held is None else _held.get(get_ident(), []):
        if ORDER[held] > ORDER[kind] or (held == kind and kind not in ("content", "layer")):
            raise AssertionError(f"lock order: {kind} is asked for while {held} is held")


def _holder(path: str) -> str:
    """Who holds a lock on the file, by /proc/locks (proc_locks(5)); "another process" when that does not tell."""
    try:
        inode = os.stat(path).st_ino
        with open("/proc/locks", encoding="utf-8") as lines:
            for line in lines:
                fields = line.split()
                if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") and fields[4] != "-1":
                    return f"process {fields[4]}"
    except OSError:
        pass
    return "another process"


def _tell(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # standard error is closed: there is nobody to tell
