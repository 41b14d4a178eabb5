"""A running container that stands still: for a while, while a command reads it (`Frozen`), or until somebody says so (`pause`).

``<runtime directory>/frozen/<container id>``, or ``paused/<container id>``, is written before: lines `creator PID START` and `group PATH`.
Whether the container stands still is told by the kernel. On the start path while a record is there.

Who stops a container for a while starts a *guard* before, a process of the helper, which holds a pipe from him and the container's
freezer: when the pipe ends, also because he was killed, the container goes on at once. Where the guard was killed as well, the next
command finds the record.
"""

from __future__ import annotations

import os

from estiba.engine import records
from estiba.errors import FailedPrecondition, OnFailure
from estiba.linux import cgroup, mountinfo
from estiba.linux.freezer import Freezer
from estiba.linux.process import start_time
from estiba.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.store.layers.jail import Helper


def frozen_folder(settings: Settings) -> str:
    """Where the records are."""
    return f"{settings.runtime_dir}/frozen"


def stands_still(path: str) -> bool:
    """Tells whether the container of this record is frozen now."""
    freezer = _freezer_of(path)
    return freezer is not None and freezer.is_frozen()


def hold(settings: Settings, container: Container) -> None:
    """Has a running container stand still until `let_go`. By whoever has the container's lock.

    Raises FailedPrecondition when nothing can hold it, or when a process of it does not stop.
    """
    record = records.read(settings, container.id)
    freezer = Freezer.of(record.cgroups if record else ())
    if freezer is None:
        reason = cgroup.Host.of(settings, mountinfo.read()).reason("freezer")
        raise FailedPrecondition(f"cannot pause container {container.name}: it has no control group that can be frozen: {reason}")
    path = f"{settings.runtime_dir}/paused/{container.id}"
    _note(path, freezer)
    with OnFailure(thaw, path):
        freezer.freeze()


def let_go(container: Container) -> None:
    """Lets a container that `hold` stopped go on; one that a command reads just now goes on when that is done."""
    path = f"{container.runtime}/paused/{container.id}"
    if os.path.exists(path):
        thaw(path)


def thaw(path: str) -> None:
    """Lets the container of a record go on, whoever stopped it, and removes the record."""
    freezer = _freezer_of(path)
    if freezer is not None:
        freezer.thaw()
    records.unlink(path)


def _freezer_of(path: str) -> Freezer | None:
    group = _read(path).get("group")
    return Freezer.of([group]) if group else None


def _read(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return dict(line.rstrip("\n").split(" ", 1) for line in file if " " in line)
    except FileNotFoundError:
        return {}


def _note(path: str, freezer: Freezer) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    text = f"creator {os.getpid()} {start_time(os.getpid())}\ngroup {os.path.dirname(freezer.control)}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(os.fsencode(text))


class Frozen:
    """A context in which a running container stands still. One that is paused already stays so.

    `reason` says why it does not stand still, where it cannot be frozen. Raises FailedPrecondition when a process does not stop.
    """

    def __init__(self, settings: Settings, container: Container) -> None:
        self._settings = settings
        self._container = container
        self._record = f"{frozen_folder(settings)}/{container.id}"
        self._freezer: Freezer | None = None
        self._guard: Helper | None = None
        self.reason = ""

    def __enter__(self) -> Self:
        record = records.read(self._settings, self._container.id)
        freezer = Freezer.of(record.cgroups if record else ())
        if freezer is None:
            self.reason = "it has no control group that can be frozen"
        elif not freezer.is_frozen():
            self._freezer = freezer
            with OnFailure(self.thaw):
                _note(self._record, freezer)
                self._guard = self._start_guard(freezer)
                freezer.freeze()
        return self

    def _start_guard(self, freezer: Freezer) -> Helper:
        from estiba.store.layers.jail import Helper

        control = os.open(freezer.control, os.O_WRONLY | os.O_CLOEXEC)
        folder = os.open(frozen_folder(self._settings), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        plan = [
            ops.slot(0, control, ""),
            ops.slot(1, folder, ""),
            ops.guard(0, freezer.thaw_text),
            ops.forget(1, self._container.id),
        ]
        try:
            guard = Helper(self._settings, "guard", plan, [control, folder], what=f"freeze container {self._container.name}")
        finally:
            os.close(control)
            os.close(folder)
        guard.expect(b"\1")
        return guard

    def thaw(self) -> None:
        """Lets the container go on; once is enough."""
        freezer, self._freezer = self._freezer, None
        if freezer is None:
            return
        if self._guard is not None:
            self._guard.__exit__(None, None, None)
        freezer.thaw()  # also where the guard was killed
        records.unlink(self._record)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.thaw()


def thaw_abandoned(settings: Settings) -> None:
    """Lets containers go on that a dead command froze for a while, and whose guard is dead too; one that it paused stays so, if it
    came so far.
    """
    for path in records.stopped(settings.runtime_dir):
        pid, _, started = _read(path).get("creator", "").partition(" ")
        alive = pid.isdigit() and start_time(int(pid)) == started
        if not alive and not (path.startswith(f"{settings.runtime_dir}/paused/") and stands_still(path)):
            thaw(path)
