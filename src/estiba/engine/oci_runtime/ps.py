"""`ps`: the processes of a container."""

from __future__ import annotations

from estiba.engine.oci_runtime import cgroups
from estiba.engine.oci_runtime.state import State
from estiba.errors import FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def processes(root: str, name: str) -> list[int]:
    """The pids of container `name`, none of a stopped one. Raises NotFound, and FailedPrecondition where nothing tells them."""
    state = State.read(root, name)
    if state.status == "stopped":
        return []
    if not state.cgroups:
        raise FailedPrecondition(f"cannot list the processes of container {name}: it has no control group")
    return cgroups.members(state.cgroups)


def table(pids: Sequence[int], options: Sequence[str]) -> list[str]:
    """The lines that ps(1) of this machine has about these processes, its heading first. Raises FailedPrecondition."""
    import subprocess

    try:
        done = subprocess.run(["ps", *(options or ("-ef",))], capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise FailedPrecondition("cannot show a table of processes: this machine has no ps", hint="use --format json") from None
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines or "PID" not in lines[0].split():
        raise FailedPrecondition(f"cannot show a table of processes: {done.stderr.strip() or 'ps names no PID'}")
    column, wanted = lines[0].split().index("PID"), {str(pid) for pid in pids}
    return [lines[0], *(line for line in lines[1:] if line.split()[column : column + 1] and line.split()[column] in wanted)]
