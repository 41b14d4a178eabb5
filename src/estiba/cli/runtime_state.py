"""``estiba runtime state``: the state of a container as JSON."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.state import State
    from estiba.oci.strict_json import dumps

    state = State.read(root_of(found), found.arguments[0])
    output.raw(dumps({**state.json(), "created": state.created}, indent=2).decode("utf-8", "replace") + "\n")
    return 0


COMMAND = runtime_command("state", "Show the state of a container as JSON", _run, examples=[("estiba runtime state web", "")])
