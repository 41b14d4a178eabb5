"""`stop`: asks a container's program to end, and makes it. On the start path."""

from __future__ import annotations

import os
import select
from time import monotonic

from estiba.engine import containers, event_log, names, records, status, supervision
from estiba.errors import NotFound, OnFailure, Unavailable
from estiba.linux import process, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from estiba.engine.containers import Container
    from estiba.store.layout import Store

#: Seconds between the signal that asks and SIGKILL, as Docker's.
DEFAULT_TIMEOUT = 10
#: Seconds that the end may take after SIGKILL; more means that the kernel holds the process, unless it is still at work on it.
_KILL_SECONDS, _EXIT_SECONDS = 2.0, 20.0
#: And that the watchers may take to tidy up behind it.
_SETTLE_SECONDS = 2.0
#: Seconds that a machine may take to write its disk.
_POWER_SECONDS = 5.0


def stop(store: Store, name: str, *, timeout: int | None = None, number: int | None = None, for_now: bool = False) -> str:
    """Asks the program to end, and kills it when it has not after `timeout` seconds (-1: never); returns the container's id.

    A container that does not run is left alone. Parameters: `timeout` and signal `number`, else those of the container; `for_now`: what
    its restart policy says after a boot stays true.
    Raises NotFound, Conflict (an ambiguous id), Unavailable when the kernel does not let the program end.
    """
    return stopped(begin(store, name, timeout=timeout, number=number, for_now=for_now))


def begin(store: Store, name: str, *, timeout: int | None = None, number: int | None = None, for_now: bool = False) -> Ending:
    """As `stop`, but does not wait for the end, `stopped` does: several containers take their time together."""
    with LeftAlone(store, containers.find(store, name), for_now=for_now) as container:
        return Ending(container, timeout=timeout, number=number)


def stopped(ending: Ending) -> str:
    """Waits for the end that `begin` asked for; returns the container's id. Raises Unavailable."""
    if ending.finish():
        event_log.container(ending.container, "stop")
    return ending.container.id


def comes_back(store: Store) -> list[str]:
    """The names of those that run and that their restart policy brings back after a boot."""
    return [container.name for container in containers.list_running(store, []) if container.restart in ("always", "unless-stopped")]


class LeftAlone:
    """A context in which nobody else changes the container, nor starts it: in it, the program is asked to end. It begins with the container
    as it is now; a start on its way was waited for.

    Nobody starts it by himself afterwards, until somebody starts it. Should this process be killed before that is noted, the next command
    has it looked after as it was. Parameters: `keep`, it is so afterwards as well; `watch`, its health is checked for as long as it runs
    on; `for_now`, it is not noted that somebody stopped it. Raises NotFound.
    """

    __slots__ = ("_container", "_for_now", "_keep", "_lock", "_store", "_wanted", "_watch")

    def __init__(self, store: Store, container: Container, *, keep: bool = False, watch: bool = False, for_now: bool = False) -> None:
        self._store = store
        self._container = container
        self._keep = keep
        self._watch = watch
        self._for_now = for_now
        self._wanted = False
        self._lock = containers.lock(container)

    def __enter__(self) -> Container:
        self._lock.acquire()
        with OnFailure(self._lock.release):
            container = self._container = containers.again(self._store, self._container)
            self._wanted = supervision.is_wanted(container)
            self._watch = self._watch and bool(container.pid and container.check)
            if self._wanted and not self._watch:
                supervision.dismiss(container, keep=True)
            try:
                held = containers.hold(container)
            except FileNotFoundError:
                raise NotFound(f"cannot find container {container.name!r}: it has just been removed") from None
            if held is not None:
                os.close(held)
            container.refresh()
            return container

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and self._wanted and not self._keep:
                if not self._for_now:
                    status.ask(f"{self._container.folder}/status", "stop")
                if not self._watch:
                    supervision.dismiss(self._container)
        finally:
            self._lock.release()


class Ending:
    """The program of a `container`, which is asked to end as soon as this is made, and made to when its time is over.

    Parameters: as those of `stop`. `runs` tells whether there was one.
    """

    __slots__ = ("_deadline", "container", "runs")

    def __init__(self, container: Container, *, timeout: int | None = None, number: int | None = None) -> None:
        self.container = container
        self._deadline = 0.0
        descriptor = container.pidfd()
        self.runs = descriptor is not None
        if descriptor is None:
            return
        try:
            seconds = timeout if timeout is not None else container.stop_timeout if container.stop_timeout is not None else DEFAULT_TIMEOUT
            number = number or stop_number(container)
            if number == signals.SIGKILL:
                seconds = max(seconds, int(_KILL_SECONDS))
            send(container, descriptor, number)
            unpaused(container)
            self._deadline = monotonic() + seconds if seconds >= 0 else -1.0
        finally:
            os.close(descriptor)

    def finish(self) -> bool:
        """Waits for the end; False where none ran. Raises Unavailable when the kernel does not let the program end."""
        descriptor = self.container.pidfd() if self.runs else None
        if descriptor is not None:
            try:
                if not ends(descriptor, None if self._deadline < 0 else max(0.0, self._deadline - monotonic())):
                    kill_for_good(self.container, descriptor)
            finally:
                os.close(descriptor)
        if self.runs:
            settled(self.container)
        return self.runs


def stop_number(container: Container) -> int:
    """The signal that asks the container's program to end."""
    from estiba.runtime.spec import STOP_SIGNAL

    text = container.spec().get("annotations", {}).get(STOP_SIGNAL, "15")
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else int(signals.SIGTERM)


def send(container: Container, descriptor: int, number: int) -> None:
    """Sends a signal, and tells of it before. A machine's own process passes it on to the program in its guest (helper/PROTOCOL.md)."""
    event_log.container(container, "kill", signal=str(int(number)))
    _signal(descriptor, number)


def _signal(descriptor: int, number: int) -> None:
    try:
        signals.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return


def kill_for_good(container: Container, descriptor: int) -> None:
    """Ends the program, and with it whatever of the container there is.

    SIGKILL is a power cut for a machine: where its files are wanted its power button is pressed first, so that its program is killed
    and its disk is written. Raises Unavailable when the kernel does not let the program end.
    """
    if container.kernel and not names.goes(container.folder):
        _signal(descriptor, signals.SIGPWR)
        unpaused(container)
        if ends(descriptor, _POWER_SECONDS):
            return
    send(container, descriptor, signals.SIGKILL)
    unpaused(container)
    _thaw(container)
    waited = 0.0
    while not ends(descriptor, _KILL_SECONDS):
        waited += _KILL_SECONDS
        state = _process_state(container.pid)
        if state != "R" or waited >= _EXIT_SECONDS:  # R: it gives a lot of memory back
            raise Unavailable(
                f"cannot end container {container.name}: process {container.pid} is in state {state} {waited:.0f} seconds after SIGKILL",
                hint="the kernel ends it when a device or a file system that one of its processes waits for has answered",
            )


def _thaw(container: Container) -> None:
    """A process that a freezer of version 1 holds does not even die (freezer-subsystem.rst), whoever holds it there."""
    from estiba.linux.freezer import Freezer

    record = records.read_below(container.runtime, container.id)
    freezer = Freezer.of(record.cgroups) if record else None
    if freezer is not None:
        freezer.thaw()


def unpaused(container: Container) -> None:
    """Lets a paused container take the signal that was just sent to it."""
    if container.status == "paused":
        from estiba.engine.freeze import let_go

        let_go(container)
        container.status = "running"
        event_log.container(container, "unpause")


def ends(descriptor: int, seconds: float | None) -> bool:
    """Waits for the end of the process of a pidfd; False when it takes longer."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def settled(container: Container) -> None:
    """Waits until the watchers have gone, so that the next command finds nothing of the container on this machine; of one that goes
    with its run, until its folder has: the control groups and the files on the disk follow.

    Raises Unavailable where a debugger keeps the dead program from them (ptrace(2)): then it cannot be waited for.
    """
    tracer = "0" if status.ends_within(f"{container.folder}/status", _SETTLE_SECONDS) else _tracer(container)
    if tracer != "0":
        raise Unavailable(
            f"cannot end container {container.name}: process {container.pid} is in state Z, and its tracer, process {tracer}, keeps it",
            hint=f"end process {tracer}",
        )


def _tracer(container: Container) -> str:
    """The process that traces the container's dead program, "0" for none."""
    if process.start_time(container.pid) != container.pid_started:
        return "0"
    try:
        with open(f"/proc/{container.pid}/status", encoding="utf-8", errors="replace") as file:
            return next(line.split()[1] for line in file if line.startswith("TracerPid:"))
    except (FileNotFoundError, ProcessLookupError):
        return "0"


def _process_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "?"
