"""``estiba stop``: ask containers to end."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

FLAGS = [
    Flag("signal", "Signal that asks, else the container's", short="s", value="signal"),
    Flag("timeout", "Seconds until SIGKILL, -1 for never, else the container's or 10", short="t", value="seconds", aliases=("time",)),
]


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import seconds, signal_option, together
    from estiba.engine.stop import begin, comes_back, stopped
    from estiba.errors import InvalidArgument

    timeout, number = seconds(found.string("timeout"), "timeout"), signal_option(found.string("signal"))
    names: Sequence[str] = found.arguments
    for_now = found.switch("for-now")
    if for_now and not names:
        names = comes_back(context.store)
    elif not names:
        raise InvalidArgument("cannot parse 'estiba stop': it needs at least 1 argument: CONTAINER [CONTAINER...]")
    return together(context, names, lambda name: begin(context.store, name, timeout=timeout, number=number, for_now=for_now), stopped)


COMMAND = Command(
    "stop",
    "Stop containers",
    _run,
    usage="CONTAINER [CONTAINER...]",
    sections={
        "Options": [
            switch("for-now", "As before a shutdown: `start --wanted` brings them back; without names, all with such a restart policy"),
            *FLAGS,
        ]
    },
    examples=[("estiba stop web", "SIGTERM, or the image's stop signal, and SIGKILL after ten seconds")],
    aliases=("container stop",),
    least=0,
    most=None,
    complete="container",
)
