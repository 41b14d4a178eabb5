"""``estiba restart``: stop containers and start them again."""

from __future__ import annotations

from estiba.cli.arguments import Command
from estiba.cli.stop import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import seconds, signal_option, together
    from estiba.engine.restart import begin, finish

    timeout, number = seconds(found.string("timeout"), "timeout"), signal_option(found.string("signal"))
    return together(
        context,
        found.arguments,
        lambda name: begin(context.store, name, timeout=timeout, number=number),
        lambda ending: finish(context.store, context.settings, ending),
    )


COMMAND = Command(
    "restart",
    "Stop containers and start them again",
    _run,
    usage="CONTAINER [CONTAINER...]",
    sections={"Options": FLAGS},
    examples=[("estiba restart -t 2 web", "with two seconds to end")],
    aliases=("container restart",),
    least=1,
    most=None,
    complete="container",
)
