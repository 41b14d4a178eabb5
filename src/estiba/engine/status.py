"""A container's status file: what became of it, as lines that only grow. On the start path.

Keeper and monitor append ``running`` and ``exited`` and hold flock(2) on the file while one of them lives (helper/PROTOCOL.md). The engine
appends what nobody else knows:

    asked start|stop|restart NUMBER TIME_NS     a user, or for ``restart`` the supervisor, wants it; NUMBER counts restarts
    failed TEXT                                 why the last start came to nothing
    ran                                         at the beginning of a file that was cut: the program was executed before

Whether the container runs is told by the lock alone, so no crash can make it untrue.
"""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: A start cuts a file that has become longer than this; each restart adds three lines.
LONGEST = 64 * 1024
_KEPT = 4096
_PIECE = 16 * 1024
#: Between two looks at a lock that the end of a run gives back within some milliseconds: they are so much longer each time.
_PAUSE, _PAUSE_GROWS, _LONGEST_PAUSE = 0.0002, 1.25, 0.004
#: The exit code when nobody lived to write it, as Docker's after a reboot.
UNKNOWN_CODE = 255


class Status:
    """`state` is created, running or exited. `exit_code` is None before the first end; times are ns since 1970, 0 for never. `pid` is 0
    unless it runs, and `pid_started` its start time, which makes it a name for good. `asked` is what was wanted last since the program
    was executed: start, stop, restart or nothing. `ran` tells that the program was ever executed, `error` why the last start failed.
    `orphan` is pid and start time of a program whose watchers were killed: it may run, and is no container any more.
    """

    __slots__ = (
        "asked", "error", "exit_code", "exit_signal", "finished", "oom", "orphan", "pid", "pid_started", "ran", "restarts", "started",
        "state",
    )  # fmt: skip

    def __init__(self) -> None:
        self.state = "created"
        self.pid, self.pid_started = 0, ""
        self.started = self.finished = 0
        self.exit_code: int | None = None
        self.exit_signal = 0
        self.oom = False
        self.orphan: tuple[int, str] | None = None
        self.ran = False
        self.asked = ""
        self.restarts = 0
        self.error = ""

    def take(self, words: Sequence[str]) -> None:
        """Takes one line. One that a power cut tore says nothing."""
        try:
            if words[0] == "running":
                self.pid, self.pid_started, self.started = int(words[1]), words[2], int(words[3])
                self.state, self.ran, self.error, self.asked = "running", True, "", ""
            elif words[0] == "exited":
                self.exit_code, self.exit_signal, self.finished, self.oom = int(words[1]), int(words[2]), int(words[3]), words[4] == "1"
                # As Docker: a container whose program could never be executed is still only created.
                self.state, self.pid = "exited" if self.ran else "created", 0
            elif words[0] == "asked":
                self.asked, self.restarts = words[1], int(words[2])
            elif words[0] == "failed":
                self.error = " ".join(words[1:])
            elif words[0] == "ran":
                self.ran = True
        except (IndexError, ValueError):
            return


def read(path: str, *, mine: bool = False) -> Status:
    """The status by the file at `path`; a file that is gone says that it was created. `mine`: the caller holds its lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return Status()
    try:
        status = _parse(descriptor)
        if status.state != "running" or (not mine and _is_held(descriptor)):
            return status
        status = _parse(descriptor)  # nobody writes now: the lock is the caller's, or shared and this function's
        if status.state == "running":
            # Keeper and monitor were killed, or the machine was: nobody could write the code.
            status.orphan = status.pid, status.pid_started
            status.state, status.exit_code, status.exit_signal, status.pid, status.finished = "exited", UNKNOWN_CODE, 0, 0, 0
        return status
    finally:
        os.close(descriptor)


def _parse(descriptor: int) -> Status:
    status = Status()
    for line in _read(descriptor).decode("utf-8", "replace").split("\n"):
        words = line.split(" ")
        if words[0]:
            status.take(words)
    return status


def read_file(path: str, limit: int = 1 << 30) -> bytes:
    """The first `limit` bytes of a file, small as a rule: `ps` reads two of each container, and open() takes twice as long."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(descriptor, limit)
    finally:
        os.close(descriptor)


def _read(descriptor: int, limit: int = 1 << 30) -> bytes:
    data = b""
    while len(data) < limit and (piece := os.pread(descriptor, min(_PIECE, limit - len(data)), len(data))):
        data += piece
    return data


def is_held(path: str) -> bool:
    """Tells whether keeper or monitor live, or a start is on its way."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return _is_held(descriptor)
    finally:
        os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    """Where nobody holds it, this process does from now on, shared, until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def wait_for_end(descriptor: int) -> None:
    """Waits until nobody holds the open status file."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def ends_within(path: str, seconds: float) -> bool:
    """Waits until nobody holds the status file at `path`, or none is there; False when that takes longer than `seconds`."""
    began, pause = time.monotonic(), _PAUSE
    while is_held(path):
        if time.monotonic() - began > seconds:
            return False
        time.sleep(pause)
        pause = min(pause * _PAUSE_GROWS, _LONGEST_PAUSE)
    return True


def ask(path: str, word: str, number: int = 0) -> None:
    """Notes what is wanted of the container: start, stop, or restart for the time `number`."""
    _append(path, f"asked {word} {number} {time.time_ns()}")


def fail(path: str, text: str) -> None:
    """Notes why a start came to nothing."""
    _append(path, "failed " + " ".join(text.split())[:1000])


def lost(path: str) -> None:
    """Notes that the container ended at some time before now, when nobody was left to see how."""
    _append(path, f"exited {UNKNOWN_CODE} 0 {time.time_ns()} 0")


def _append(path: str, line: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return  # removed meanwhile
    try:
        os.write(descriptor, f"{line}\n".encode("utf-8", "replace"))
    finally:
        os.close(descriptor)


def shorten(path: str) -> None:
    """Cuts a file that has become long, by whoever holds its lock: the last lines are copied to its beginning, then the rest goes.

    A crash in between leaves some lines doubled, and half a line that says nothing; the last line is the last in any case.
    """
    try:
        if os.stat(path).st_size <= LONGEST:
            return
    except FileNotFoundError:
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        tail = os.pread(descriptor, _KEPT, os.fstat(descriptor).st_size - _KEPT).partition(b"\n")[2]
        kept = (b"ran\n" if read(path, mine=True).ran else b"\n") + tail
        os.pwrite(descriptor, kept, 0)
        os.ftruncate(descriptor, len(kept))
    finally:
        os.close(descriptor)
