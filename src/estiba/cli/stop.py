"""``estiba stop``: ask containers to end."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

FLAGS = [
    Flag("signal", "Signal that asks, else the container's", short="s", value="signal"),
    Flag("timeout", "Seconds until SIGKILL, -1 for never, else the container's or 10", short="t", value="seconds", aliases=("time",)),
]


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each, seconds, signal_option
    from estiba.engine.stop import stop

    timeout, number = seconds(found.string("timeout"), "timeout"), signal_option(found.string("signal"))
    return each(context, found.arguments, lambda name: stop(context.store, name, timeout=timeout, number=number))


COMMAND = Command(
    "stop",
    "Stop containers",
    _run,
    usage="CONTAINER [CONTAINER...]",
    sections={"Options": FLAGS},
    examples=[("estiba stop web", "SIGTERM, or the image's stop signal, and SIGKILL after ten seconds")],
    aliases=("container stop",),
    least=1,
    most=None,
    complete="container",
)
