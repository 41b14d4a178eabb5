"""`pause` and `resume`: all processes of a container stand still, and go on."""

from __future__ import annotations

from estiba.engine.oci_runtime.state import State
from estiba.errors import Conflict, FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.linux.freezer import Freezer


def pause(root: str, name: str) -> None:
    """Stops the processes of container `name`. Raises NotFound, Conflict where it does not run, FailedPrecondition."""
    state = State.read(root, name)
    with state.lock():
        if state.status not in ("running", "created"):
            raise Conflict(f"cannot pause container {name}: it is {state.status}")
        _freezer(state).freeze()


def resume(root: str, name: str) -> None:
    """Lets the processes of container `name` go on. Raises NotFound, Conflict where it is not paused."""
    state = State.read(root, name)
    with state.lock():
        if state.status != "paused":
            raise Conflict(f"cannot resume container {name}: it is {state.status}")
        _freezer(state).thaw()


def _freezer(state: State) -> Freezer:
    freezer = state.freezer
    if freezer is None:
        raise FailedPrecondition(f"cannot pause container {state.id}: it has no control group that can be frozen")
    return freezer
