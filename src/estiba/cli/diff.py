"""``estiba diff``: what a container has changed."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.diff import diff

    output.lines([f"{kind} {output.escape(path)}" for kind, path in diff(context.store, context.settings, found.arguments[0])])
    return 0


COMMAND = Command(
    "diff",
    "Show what a container has changed",
    _run,
    usage="CONTAINER",
    about="A stands before what was added, C before what was changed, D before what was deleted since the container was made.",
    examples=[("estiba diff web", "the container may run or not")],
    aliases=("container diff",),
    least=1,
    most=1,
    complete="container",
)
