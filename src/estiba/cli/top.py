"""``estiba top``: the processes of a container."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_LEAST_WIDTH = 20  # of docker's columns


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.table import aligned
    from estiba.engine.top import top

    name, *options = found.arguments
    output.lines(aligned(top(context.store, context.settings, name, options), least=_LEAST_WIDTH))
    return 0


COMMAND = Command(
    "top",
    "Show the processes of a container",
    _run,
    usage="CONTAINER [ps OPTIONS]",
    about="""Process numbers and users are the host's. Of ps(1)'s options those that say what is shown are there: `-f` (the default), `u`,
    and `-o` with a list of columns; always all processes of the container are shown. No ps is needed, neither here nor in the
    container.""",
    examples=[("estiba top web", ""), ("estiba top web -o pid,rss,args", "")],
    aliases=("container top",),
    least=1,
    most=None,
    flags_end=1,
    complete="container",
)
