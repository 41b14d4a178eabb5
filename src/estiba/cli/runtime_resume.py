"""``estiba runtime resume``: a paused container goes on."""

from __future__ import annotations

from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.pause import resume

    resume(root_of(found), found.arguments[0])
    return 0


COMMAND = runtime_command("resume", "Let a paused container go on", _run, examples=[("estiba runtime resume web", "")])
