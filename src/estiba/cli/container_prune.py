"""``estiba container prune``: remove containers that do not run."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, many, switch
from estiba.cli.confirm import confirmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.prune import prune_containers
    from estiba.engine.units import human_size

    if not found.switch("force") and not confirmed("This removes all containers that do not run."):
        return 0
    pruned = prune_containers(context.store, context.settings, found.strings("filter"))
    if pruned.removed:
        output.lines(["Deleted Containers:", *(item.what for item in pruned.removed), ""])
    output.lines([f"Total reclaimed space: {human_size(pruned.freed, 4)}"])
    return 0


COMMAND = Command(
    "container prune",
    "Remove all containers that do not run",
    _run,
    sections={
        "Options": [
            many("filter", "until=, label=, label!=", value="key=value"),
            switch("force", "Do not ask", short="f"),
        ]
    },
    examples=[("estiba container prune -f", "without a question")],
)
