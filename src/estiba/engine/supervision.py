"""Who looks after containers that ask for more than to run once: a supervisor (engine/supervise.py) for each. On the start path.

``<runtime directory>/supervised/<container id>`` is made before the container runs, and removed by whoever decides that it need not be
looked after any more. Its supervisor holds flock(2) on it for all of its life. Lines: the container's folder, then ``PID START`` of the
supervisor. An entry that nobody holds is that of a supervisor that was killed: the next command starts another (`revive`).
"""

from __future__ import annotations

import os
import sys
import time

from estiba.errors import Unavailable
from estiba.linux import process
from estiba.linux.locks import try_flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from estiba.config.settings import Settings
    from estiba.engine.containers import Container

_PATIENCE_SECONDS = 10
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from estiba.engine.supervise import main; main(sys.argv[1:])"
_SITE = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def path(runtime: str, container_id: str) -> str:
    """The entry of a container."""
    return f"{runtime}/supervised/{container_id}"


def waiting(runtime: str) -> list[str]:
    """The ids of all that have an entry."""
    try:
        return os.listdir(f"{runtime}/supervised")
    except FileNotFoundError:
        return []


def is_wanted(container: Container) -> bool:
    """Tells whether the container asks for a supervisor."""
    return container.restart != "no" or has_check(container.check)


def has_check(member: Mapping[str, object]) -> bool:
    """Tells whether the member `health` of a container asks for checks. Most have none."""
    if not member:
        return False
    from estiba.engine.health import is_on

    return is_on(member)


def ensure(settings: Settings, container_id: str, folder: str, offset: int = 0) -> None:
    """Starts the container's supervisor, unless it has one. By whoever holds the container's lock, before its program is executed.

    `offset` is how long the status file is: the supervisor has nothing to do when no program was executed behind it.
    """
    entry = path(settings.runtime_dir, container_id)
    descriptor = _open(entry)
    try:
        if not try_flock(descriptor):
            return
        _write_folder(descriptor, folder)
        _spawn(settings, container_id, descriptor, offset)
    finally:
        os.close(descriptor)


def note(settings: Settings, container_id: str, folder: str) -> None:
    """Makes the entry of a container whose policy is about to change: should its command be killed, the next one looks who is wanted."""
    descriptor = _open(path(settings.runtime_dir, container_id))
    try:
        if try_flock(descriptor):
            _write_folder(descriptor, folder)
    finally:
        os.close(descriptor)


def _write_folder(descriptor: int, folder: str) -> None:
    """Leaves nothing but the first line, which is never away: who is killed here leaves an entry from which another is started."""
    line = os.fsencode(folder) + b"\n"
    if os.pread(descriptor, len(line), 0) != line:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, line)
    os.ftruncate(descriptor, len(line))


def _open(entry: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(entry, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(entry), mode=0o700, exist_ok=True)
        return os.open(entry, flags, 0o600)


def _spawn(settings: Settings, container_id: str, descriptor: int, offset: int) -> None:
    """The supervisor inherits the descriptor, and with it the lock: there is no moment without."""
    from estiba.config.settings import pack

    os.set_inheritable(descriptor, True)
    nothing = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)]
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, _SITE, container_id, str(descriptor), str(offset), pack(settings)],
        {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ},
        file_actions=nothing,
        setsid=True,
    )


def dismiss(container: Container, *, keep: bool = False) -> None:
    """Ends the supervisor, by whoever holds the container's lock, so in no middle of a start. `keep` leaves the entry, from which the
    next command would start another. Raises Unavailable when the kernel does not let it end.
    """
    entry = path(container.runtime, container.id)
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not try_flock(descriptor):
            _kill(descriptor)
            if time.monotonic() > deadline:
                raise Unavailable(f"cannot end the supervisor of container {container.name}: {_words(descriptor)[-1:]} does not end")
            time.sleep(0.001)
        if not keep:
            forget(entry)
    finally:
        os.close(descriptor)


def _kill(descriptor: int) -> None:
    from estiba.linux import signals

    words = _words(descriptor)
    target = process.pidfd(int(words[0]), words[1]) if len(words) == 2 and words[0].isdigit() else None
    if target is None:
        return  # it has not said yet who it is, or has just ended
    try:
        signals.pidfd_send_signal(target, signals.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(target)


def _words(descriptor: int) -> list[str]:
    lines = os.pread(descriptor, 65536, 0).decode("utf-8", "surrogateescape").split("\n")
    return lines[1].split(" ") if len(lines) > 2 else []


def forget(entry: str) -> None:
    """Removes an entry that may be gone already."""
    try:
        os.unlink(entry)
    except FileNotFoundError:
        return
