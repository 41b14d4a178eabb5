"""``estiba runtime start``: lets a created container's program run."""

from __future__ import annotations

from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.start import start

    start(root_of(found), found.arguments[0])
    return 0


COMMAND = runtime_command("start", "Start a created container", _run, examples=[("estiba runtime start web", "runs its program")])
