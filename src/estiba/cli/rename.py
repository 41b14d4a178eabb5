"""``estiba rename``: give a container another name."""

from __future__ import annotations

from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.rename import rename

    rename(context.store, context.settings, *found.arguments)
    return 0


COMMAND = Command(
    "rename",
    "Give a container another name",
    _run,
    usage="CONTAINER NAME",
    examples=[("estiba rename web old-web", "also while it runs")],
    aliases=("container rename",),
    least=2,
    most=2,
    complete="container",
)
