"""`delete`: removes what a stopped container left."""

from __future__ import annotations

from estiba.engine.oci_runtime import borrowed_mounts, cgroups
from estiba.engine.oci_runtime.hooks import run_every_hook
from estiba.engine.oci_runtime.kill import kill_all
from estiba.engine.oci_runtime.state import State
from estiba.errors import Conflict, NotFound


def delete(root: str, name: str, *, force: bool = False) -> list[str]:
    """Removes container `name`; with `force` it is killed first, and a missing one is no error.

    Returns what poststop hooks failed with: they do not keep a container (runtime.md#lifecycle). Raises NotFound, Conflict.
    """
    try:
        state = State.read(root, name)
    except NotFound:
        if force:
            return []
        raise
    with state.lock():
        status = state.status
        if status == "created" or (force and status != "stopped"):
            kill_all(state)  # what only waits is nobody's work
        elif status != "stopped":
            raise Conflict(f"cannot delete container {name} that is not stopped: {status}", hint="kill it, or delete it with --force")
        try:
            bundle = state.config()
        except FileNotFoundError:
            bundle = None  # its making was cut short
        take_away(state)
    return [] if bundle is None else run_every_hook(bundle, "poststop", state, "stopped")


def take_away(state: State) -> None:
    """Kills what is left of the container and removes its mounts, its control groups and its record."""
    kill_all(state)
    if state.root:
        borrowed_mounts.take_off(state.root, state.root_mounts)
    for group in state.made_cgroups:
        cgroups.remove(group)
    state.remove()
