"""``estiba runtime delete``: removes stopped containers."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import switch
from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.delete import delete

    for name in found.arguments:
        for warning in delete(root_of(found), name, force=found.switch("force")):
            output.warn(warning)
    return 0


COMMAND = runtime_command(
    "delete",
    "Remove stopped containers",
    _run,
    usage="ID...",
    flags=(switch("force", "Kill a running container first", short="f"),),
    examples=[("estiba runtime delete --force web", "")],
    most=None,
)
