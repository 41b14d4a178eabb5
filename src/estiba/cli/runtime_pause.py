"""``estiba runtime pause``: all processes of a container stand still."""

from __future__ import annotations

from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.pause import pause

    pause(root_of(found), found.arguments[0])
    return 0


COMMAND = runtime_command("pause", "Stop all processes of a container", _run, examples=[("estiba runtime pause web", "")])
