"""The way into a container that runs: its namespaces and control groups, which only the helper enters (hardening W5).

On the start path of `exec`.
"""

from __future__ import annotations

import os

from estiba.engine import containers, records
from estiba.errors import Conflict
from estiba.linux import process
from estiba.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.plan.ops import Op

PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def check_runs(container: Container, verb: str) -> None:
    """Raises Conflict, `cannot <verb> container ...`, unless the container runs."""
    if container.status == "restarting":
        raise Conflict(f"cannot {verb} container {container.name}: it is restarting", hint="wait until it runs")
    if container.status not in ("running", "paused"):
        raise _not_running(container, verb)


def check_enters(container: Container, verb: str) -> None:
    """Raises Conflict, `cannot <verb> container ...`, unless a process can begin in it now."""
    check_runs(container, verb)
    if container.status == "paused":
        name = container.name
        raise Conflict(f"cannot {verb} container {name}: it is paused", hint=f"let it go on first: estiba unpause {name}")


def _not_running(container: Container, verb: str = "exec in") -> Conflict:
    name = container.name
    return Conflict(f"cannot {verb} container {name}: it is not running", hint=f"start it first: estiba start {name}")


class Draft:
    """What the helper needs of the host: `descriptors`, and the operations `slots` that bind them."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self.slots: list[Op] = []

    def slot(self, descriptor: int, path: str = "") -> int:
        """Binds the next slot and returns its number."""
        self.descriptors.append(descriptor)
        self.slots.append(ops.slot(len(self.slots), descriptor, path))
        return len(self.slots) - 1

    def close(self) -> None:
        """Closes the descriptors, which nobody else owns yet."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def way_in(draft: Draft, settings: Settings, container: Container, namespaces: int) -> tuple[records.Record, list[Op]]:
    """Namespaces (CLONE_NEW*) and control groups. Raises Conflict when the container ends at this moment."""
    # Held by the helper: the container's mounts live on while a process is on its way into them (containers.mounted).
    draft.slot(containers.mounted(container, shared=True).acquire().descriptor)
    program = _entrance(container)
    if program is None:
        raise _not_running(container)
    host = [ops.join(draft.slot(program), namespaces)]
    record = records.read(settings, container.id)
    if record is None:
        raise _not_running(container)
    for path in record.cgroups:
        try:
            host.append(ops.cgroup(draft.slot(os.open(path, PATH))))
        except FileNotFoundError:
            raise _not_running(container) from None
    return record, host


def _entrance(container: Container) -> int | None:
    """A descriptor of a process whose namespaces can be joined. An ordinary user may not look at the first process of a machine's jail,
    which has never executed a program (ptrace(2), "Ptrace access mode checking"), but at its child, the monitor, in the same namespaces.
    """
    program = container.pidfd()
    if program is None or not container.kernel or os.geteuid() == 0:
        return program
    try:
        return process.child(container.pid)
    finally:
        os.close(program)
