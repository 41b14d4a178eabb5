"""`start`: lets a created container's program run."""

from __future__ import annotations

from estiba.engine.oci_runtime import creation
from estiba.engine.oci_runtime.hooks import run_hooks
from estiba.engine.oci_runtime.process_plan import program_name
from estiba.engine.oci_runtime.state import SOCKET, State
from estiba.errors import Conflict, EstibaError


def start(root: str, name: str) -> State:
    """Starts container `name`.

    Raises NotFound, Conflict for one that does not wait, what the helper reports, and FailedPrecondition for a poststart hook: the
    container is stopped then.
    """
    state = State.read(root, name)
    with state.lock():
        state = State.read(root, name)
        status = state.status
        if status != "created":
            raise Conflict(f"cannot start container {name}: it is {status}")
        bundle = state.config()
        try:
            creation.start(f"{state.folder}/{SOCKET}", program_name(bundle.process))
        except ConnectionError as error:
            raise Conflict(f"cannot start container {name}: it does not wait any more") from error
        try:
            run_hooks(bundle, "poststart", state, "running")
        except EstibaError:
            from estiba.engine.oci_runtime.kill import kill_all

            kill_all(state)
            raise
    return state
