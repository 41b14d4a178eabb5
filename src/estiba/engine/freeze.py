"""A running container that stands still for a while, and goes on whatever becomes of who stopped it.

A *guard*, a process of the helper, holds a pipe from this process and the container's freezer: when the pipe ends, also because this
process was killed, the container goes on at once. Where the guard was killed as well, the next command finds
``<runtime directory>/frozen/<container id>``: lines `creator PID START` and `group PATH`. On the start path while a record is there.
"""

from __future__ import annotations

import os

from estiba.engine import records
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
            try:
                self._note(freezer)
                self._guard = self._start_guard(freezer)
                freezer.freeze()
            except BaseException:
                self.thaw()
                raise
        return self

    def _note(self, freezer: Freezer) -> None:
        os.makedirs(frozen_folder(self._settings), mode=0o700, exist_ok=True)
        text = f"creator {os.getpid()} {start_time(os.getpid())}\ngroup {os.path.dirname(freezer.control)}\n"
        descriptor = os.open(self._record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(os.fsencode(text))

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
        _unlink(self._record)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.thaw()


def thaw_abandoned(settings: Settings) -> None:
    """Lets containers go on that a dead command froze and whose guard is dead too."""
    try:
        names = os.listdir(frozen_folder(settings))
    except FileNotFoundError:
        return
    for name in names:
        path = f"{frozen_folder(settings)}/{name}"
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                values = dict(line.rstrip("\n").split(" ", 1) for line in file if " " in line)
        except FileNotFoundError:
            continue
        pid, _, started = values.get("creator", "").partition(" ")
        if pid.isdigit() and start_time(int(pid)) == started:
            continue
        freezer = Freezer.of([values["group"]]) if "group" in values else None
        if freezer is not None:
            freezer.thaw()
        _unlink(path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
