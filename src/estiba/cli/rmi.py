"""``estiba rmi``: remove images."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.errors import EstibaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.rmi import rmi

    failures: list[EstibaError] = []
    for name in found.arguments:
        try:
            removed = rmi(
                context.store,
                name,
                force=found.switch("force"),
                prune=not found.switch("no-prune"),
                platform=found.string("platform") or None,
            )
        except EstibaError as error:
            failures.append(error)
        else:
            output.lines(item.line for item in removed)
    return output.failures(failures)


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
