"""`kill`: a signal for a container's first process, or for all."""

from __future__ import annotations

import os

from estiba.engine.oci_runtime import cgroups
from estiba.engine.oci_runtime.state import State
from estiba.errors import Conflict
from estiba.linux import signals
from estiba.linux.process import pidfd, start_time


def kill(root: str, name: str, number: int, *, every: bool = False) -> None:
    """Sends signal `number` to container `name`, with `every` to all its processes.

    Raises NotFound, Conflict where it neither waits nor runs (with `every` what is left in its control groups gets the signal).
    """
    state = State.read(root, name)
    status = state.status
    if every and state.made_cgroups:
        _signal_members(state, number)
    elif status in ("created", "running", "paused"):
        _signal(state.pid, state.started, number)
    else:
        raise Conflict(f"cannot kill container {name}: container not running", hint=f"it is {status}")
    freezer = state.freezer
    if number == signals.SIGKILL and freezer is not None and freezer.is_frozen():
        freezer.thaw()  # what stands still does not die


def kill_all(state: State) -> None:
    """Kills every process of the container, again and again while new ones appear, and waits until its first one is gone."""
    import time

    freezer = state.freezer
    if freezer is not None:
        freezer.thaw()
    for _ in range(1000):
        if state.alive:
            _signal(state.pid, state.started, signals.SIGKILL)
        left = _signal_members(state, signals.SIGKILL)
        if not left and not state.alive:
            return
        time.sleep(0.01)
    raise Conflict(f"cannot kill container {state.id}: a process of it waits in the kernel and does not end")


def _signal_members(state: State, number: int) -> int:
    members = [pid for pid in cgroups.members(state.made_cgroups) if not _is_dead(pid)]
    for pid in members:
        _signal(pid, start_time(pid), number)
    return len(members)


def _is_dead(pid: int) -> bool:
    """A zombie stays in its control group until it is waited for."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] == [b"Z"]
    except (FileNotFoundError, ProcessLookupError):
        return True


def _signal(pid: int, started: str, number: int) -> None:
    descriptor = pidfd(pid, started)
    if descriptor is None:
        return
    try:
        signals.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
