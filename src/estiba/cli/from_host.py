"""``estiba image from-host``: an image from programs of this machine."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.from_host import from_host

    name, *programs = found.arguments
    image = from_host(context.store, context.settings, name, programs, entrypoint=found.switch("entrypoint"))
    output.lines([image.id])
    return 0


COMMAND = Command(
    "image from-host",
    "Make an image from programs of this machine",
    _run,
    usage="NAME PROGRAM...",
    sections={"Options": [switch("entrypoint", "Run the first program when a container names none")]},
    about="The image holds the programs and exactly the shared libraries that they need.",
    examples=[("estiba image from-host tools sh ls cat && estiba run tools sh -c 'ls /'", "three programs and their libraries")],
    least=2,
    most=None,
    complete="file",
)
