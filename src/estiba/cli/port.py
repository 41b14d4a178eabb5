"""``estiba port``: the published ports of a container."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.port import port

    output.lines(port(context.store, *found.arguments))
    return 0


COMMAND = Command(
    "port",
    "List the published ports of a container",
    _run,
    usage="CONTAINER [PRIVATE_PORT[/PROTOCOL]]",
    about="There are no networks yet, so no container has any.",
    examples=[("estiba port web 80", "where port 80 is reached")],
    aliases=("container port",),
    least=1,
    most=2,
    complete="container",
)
