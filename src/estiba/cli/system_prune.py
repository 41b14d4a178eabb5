"""``estiba system prune``: give disk space back."""

from __future__ import annotations

import dataclasses

from estiba.cli import output
from estiba.cli.arguments import Command, many, switch
from estiba.cli.confirm import confirmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.prune import prune, prune_containers

    every, filters = found.switch("all"), found.strings("filter")
    what = "every image that no container uses" if every else "images that have no name"
    if not filters:
        what = f"the containers that have ended, {what}"
    if not found.switch("force") and not confirmed(f"This removes {what}, and the layers that then nobody needs."):
        return 0
    before = None if filters else prune_containers(context.store, context.settings)
    if before and before.removed:
        output.lines(["Deleted Containers:", *(item.what for item in before.removed), ""])
    pruned = prune(context.store, all=every, filters=filters)
    pruned = dataclasses.replace(pruned, freed=pruned.freed + (before.freed if before else 0))
    output.lines(pruned.lines())
    return 0


COMMAND = Command(
    "system prune",
    "Remove containers that have ended, and what nothing uses",
    _run,
    sections={
        "Options": [
            switch("all", "Also images that have a name and no container", short="a"),
            many("filter", "until=, label=, label!= of images; containers stay", value="key=value"),
            switch("force", "Do not ask", short="f"),
            switch("volumes", "", refused="there are no volumes yet"),
        ]
    },
    examples=[("estiba system prune -af", "everything that no container uses, without a question")],
)
