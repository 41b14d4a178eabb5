"""``estiba stats``: what containers use."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, switch
from estiba.cli.table import format_flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
    "Container": "CONTAINER",
}
_DEFAULT = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.table import show
    from estiba.engine.stats import stats
    from estiba.engine.sweep import sweep

    sweep(context.store, context.settings)
    once, form = found.switch("no-stream"), found.string("format")
    redraws = not once and form in ("", "table") and output.can_draw(output.STDOUT)
    for rows in stats(
        context.store, context.settings, found.arguments, every=found.switch("all"), full=found.switch("no-trunc"), once=once
    ):
        show(rows, _COLUMNS, default=_DEFAULT, form=form, redraw=redraws, gives_way="" if found.switch("no-trunc") else "Name")
    return 0


COMMAND = Command(
    "stats",
    "Show what containers use, until it is interrupted",
    _run,
    usage="[CONTAINER...]",
    sections={
        "Options": [
            switch("all", "Also those that do not run", short="a"),
            format_flag(),
            switch("no-stream", "Only once"),
            switch("no-trunc", "Cut nothing short"),
        ]
    },
    examples=[
        ("estiba stats", "all that run, drawn again every second"),
        ("estiba stats --no-stream --format '{{.Name}} {{.MemUsage}}' web", "for a script"),
    ],
    aliases=("container stats",),
    most=None,
    complete="container",
)
