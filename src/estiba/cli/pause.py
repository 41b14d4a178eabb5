"""``estiba pause``: stop all processes of containers where they are."""

from __future__ import annotations

from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each
    from estiba.engine.pause import pause

    return each(context, found.arguments, lambda name: pause(context.store, context.settings, name))


COMMAND = Command(
    "pause",
    "Have all processes of containers stand still",
    _run,
    usage="CONTAINER [CONTAINER...]",
    examples=[("estiba pause web", "it keeps its memory and takes no processor time, until: estiba unpause web")],
    aliases=("container pause",),
    least=1,
    most=None,
    complete="container",
)
