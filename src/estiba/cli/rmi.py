"""``estiba rmi``: remove images."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each_says
    from estiba.engine.rmi import rmi

    force, prune, platform = found.switch("force"), not found.switch("no-prune"), found.string("platform") or None
    return each_says(
        found.arguments, lambda name: [item.line for item in rmi(context.store, name, force=force, prune=prune, platform=platform)]
    )


COMMAND = Command(
    "rmi",
    "Remove images",
    _run,
    usage="IMAGE [IMAGE...]",
    sections={
        "Options": [
            switch("force", "Remove every name of an image that is given by its id", short="f"),
            switch("no-prune", "Keep layers that no image needs any more"),
            Flag("platform", "Remove this platform only", value="os/arch"),
        ]
    },
    examples=[("estiba rmi alpine", "its name goes, and what no other image needs")],
    aliases=("image rm", "image remove"),
    least=1,
    most=None,
    complete="image",
)
