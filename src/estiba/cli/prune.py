"""``estiba image prune``: remove images that nobody names."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, many, switch
from estiba.cli.confirm import confirmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_WHAT = {False: "all images that have no name", True: "all images that no container uses"}


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.prune import prune

    every = found.switch("all")
    if not found.switch("force") and not confirmed(f"This removes {_WHAT[every]}."):
        return 0
    pruned = prune(context.store, all=every, filters=found.strings("filter"))
    output.lines(pruned.lines())
    return 0


COMMAND = Command(
    "image prune",
    "Remove images that have no name",
    _run,
    sections={
        "Options": [
            switch("all", "Remove every image that no container uses", short="a"),
            many("filter", "until=, label=, label!=", value="key=value"),
            switch("force", "Do not ask", short="f"),
        ]
    },
    examples=[("estiba image prune -f --filter until=24h", "those older than a day, without a question")],
)
