"""``estiba unpause``: let paused containers go on."""

from __future__ import annotations

from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each
    from estiba.engine.pause import unpause

    return each(context, found.arguments, lambda name: unpause(context.store, name))


COMMAND = Command(
    "unpause",
    "Let paused containers go on",
    _run,
    usage="CONTAINER [CONTAINER...]",
    examples=[("estiba unpause web", "from where it stood still")],
    aliases=("container unpause",),
    least=1,
    most=None,
    complete="container",
)
