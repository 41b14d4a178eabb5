"""``estiba system prune``: give disk space back."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, many, switch
from estiba.cli.confirm import confirmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.prune import prune

    every = found.switch("all")
    what = "every image that no container uses" if every else "images that have no name"
    if not found.switch("force") and not confirmed(f"This removes {what}, and the layers that then nobody needs."):
        return 0
    output.lines(prune(context.store, all=every, filters=found.strings("filter")).lines())
    return 0


COMMAND = Command(
    "system prune",
    "Remove what nothing uses",
    _run,
    sections={
        "Options": [
            switch("all", "Also images that have a name and no container", short="a"),
            many("filter", "until=, label=, label!=", value="key=value"),
            switch("force", "Do not ask", short="f"),
            switch("volumes", "", refused="there are no volumes yet"),
        ]
    },
    examples=[("estiba system prune -af", "everything that no container uses, without a question")],
)
