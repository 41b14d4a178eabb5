"""``estiba kill``: send a signal to containers."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each, signal_option
    from estiba.engine.kill import kill

    number = signal_option(found.string("signal")) or 9
    return each(context, found.arguments, lambda name: kill(context.store, name, number))


COMMAND = Command(
    "kill",
    "Send a signal to containers",
    _run,
    usage="CONTAINER [CONTAINER...]",
    sections={"Options": [Flag("signal", "Which one", short="s", value="signal", default="KILL")]},
    examples=[("estiba kill -s HUP web", "have it read its configuration again")],
    aliases=("container kill",),
    least=1,
    most=None,
    complete="container",
)
