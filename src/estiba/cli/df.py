"""``estiba system df``: what takes space, and what sharing saved."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, switch
from estiba.cli.table import format_flag, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.df import df

    usage = df(context.store)
    form = found.string("format")
    if form:
        show(usage.rows, _COLUMNS, form=form)
    else:
        output.lines(usage.lines())
    return 0


_VERBOSE = switch("verbose", "", short="v", ignored="'estiba image tree' shows each layer")

COMMAND = Command(
    "system df",
    "Show what takes space, and what sharing saved",
    _run,
    sections={"Options": [format_flag("Go template"), _VERBOSE]},
    examples=[("estiba system df", "images, layers, and the space that sharing saved")],
)
