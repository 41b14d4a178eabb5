"""``estiba wait``: wait until containers have ended."""

from __future__ import annotations

from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each
    from estiba.engine.wait import wait

    return each(context, found.arguments, lambda name: wait(context.store, name))


COMMAND = Command(
    "wait",
    "Wait until containers end, and print their exit codes",
    _run,
    usage="CONTAINER [CONTAINER...]",
    examples=[("estiba wait job", "prints 0 when all went well")],
    aliases=("container wait",),
    least=1,
    most=None,
    complete="container",
)
