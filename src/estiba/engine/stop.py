"""`stop`, `kill`, `wait`: signals to a container's program, and the wait for its end. On the start path."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time

from estiba.engine import containers, records
from estiba.errors import Conflict, FailedPrecondition, Unavailable
from estiba.runtime.spec import STOP_SIGNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.store.layout import Store

#: Seconds between the signal that asks and SIGKILL, as Docker's.
DEFAULT_TIMEOUT = 10
#: Seconds that the end may take after SIGKILL; more means that the kernel holds the process.
_KILL_SECONDS = 10.0
#: Seconds that a machine may take to write its disk.
_POWER_SECONDS = 5.0


def stop(store: Store, name: str, *, timeout: int | None = None, number: int | None = None) -> str:
    """Asks the program to end, and kills it when it has not after `timeout` seconds (-1: never); returns the container's id.

    A container that does not run is left alone. Parameters: `timeout` and signal `number`, else those of the container.
    Raises NotFound, Conflict (an ambiguous id), Unavailable when the kernel does not let the program end.
    """
    container = containers.find(store, name)
    end(container, timeout=timeout, number=number)
    return container.id


def end(container: Container, *, timeout: int | None = None, number: int | None = None) -> None:
    """Does what `stop` does to a container that was found."""
    descriptor = container.pidfd()
    if descriptor is None:
        return
    try:
        seconds = timeout if timeout is not None else container.stop_timeout if container.stop_timeout is not None else DEFAULT_TIMEOUT
        _send(descriptor, number or stop_number(container))
        if not _ends(descriptor, None if seconds < 0 else float(seconds)):
            _kill(container, descriptor)
    finally:
        os.close(descriptor)
    settled(container)


def kill(store: Store, name: str, number: int = signal.SIGKILL) -> str:
    """Sends a signal to the program; returns the container's id. Does not wait, but for the end that SIGKILL brings.

    Raises NotFound, Conflict, FailedPrecondition for a container that does not run.
    """
    container = containers.find(store, name)
    descriptor = container.pidfd()
    if descriptor is None:
        raise FailedPrecondition(f"cannot kill container {container.name}: it is not running")
    try:
        if number == signal.SIGKILL:
            _kill(container, descriptor)
            settled(container)
        else:
            _send(descriptor, number)
    finally:
        os.close(descriptor)
    return container.id


def wait(store: Store, name: str) -> int:
    """Waits until a container does not run, and returns its exit code.

    Raises NotFound, Conflict. One that was never started is waited for, as Docker does.
    """
    container = containers.find(store, name)
    status = os.open(f"{container.folder}/status", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        pause = 0.01
        while container.status == "created":
            time.sleep(pause)
            pause = min(pause * 2, 0.5)
            container = containers.again(store, container)
        _unlocked(status, None)
        # The folder of a --rm container may be gone by now; the file is still open.
        os.lseek(status, 0, os.SEEK_SET)
        lines = os.read(status, 1 << 20).split(b"\n")
    finally:
        os.close(status)
    last = [line.split() for line in lines if line][-1:]
    return int(last[0][1]) if last and last[0][0] == b"exited" else 255


def remove(store: Store, settings: Settings, name: str, *, force: bool = False) -> str:
    """Removes a container and everything of it, and returns its id; `force` kills it first where it runs.

    Raises NotFound, Conflict while it runs.
    """
    from estiba.store import layers

    container = containers.find(store, name)
    if force and container.status == "running":
        end(container, timeout=0, number=signal.SIGKILL)
        if container.remove:
            return container.id
    try:
        with containers.lock(container):
            container = containers.again(store, container)
            if container.status == "running":
                raise Conflict(
                    f"cannot remove container {container.name}: it is running", hint=f"stop it first, or: estiba rm -f {container.name}"
                )
            os.rename(container.folder, f"{store.trash}/{container.id}")
            records.unlink_if(f"{store.names}/{container.name}", container.id)
    except FileNotFoundError:
        return container.id  # another command was faster
    layers.empty_trash(store, settings)
    return container.id


def stop_number(container: Container) -> int:
    """The signal that asks the container's program to end."""
    text = container.spec().get("annotations", {}).get(STOP_SIGNAL, "15")
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else int(signal.SIGTERM)


def settled(container: Container) -> None:
    """Waits until the watchers have gone, so that the next command finds nothing of the container on this machine."""
    try:
        status = os.open(f"{container.folder}/status", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return  # a --rm container: its folder goes last but for the control groups
    try:
        _unlocked(status, _KILL_SECONDS)
    finally:
        os.close(status)


def _send(descriptor: int, number: int) -> None:
    """A machine's own process passes the signal on to the program in its guest (helper/PROTOCOL.md)."""
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return


def _kill(container: Container, descriptor: int) -> None:
    """Ends the program, and with it whatever of the container there is.

    SIGKILL is a power cut for a machine: where its files are wanted its power button is pressed first, so that its program is killed
    and its disk is written.
    """
    if container.kernel and not container.remove:
        _send(descriptor, signal.SIGPWR)
        if _ends(descriptor, _POWER_SECONDS):
            return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return
    if not _ends(descriptor, _KILL_SECONDS):
        raise Unavailable(
            f"cannot end container {container.name}: {_KILL_SECONDS:.0f} seconds after SIGKILL process {container.pid} is still in state "
            + _process_state(container.pid),
            hint="D means that it waits for a device or a file system that does not answer",
        )


def _process_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "?"


def _ends(descriptor: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def _unlocked(descriptor: int, seconds: float | None) -> bool:
    """Waits until nobody holds the lock of a status file."""
    began, pause = time.monotonic(), 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if seconds is not None and time.monotonic() - began > seconds:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
            continue
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True
