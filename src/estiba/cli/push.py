"""``estiba push``: send an image to a registry."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import progress_for
    from estiba.engine.push import push

    name, platform = found.arguments[0], found.string("platform") or None
    with progress_for(quiet=found.switch("quiet")) as progress:
        every = found.switch("all-tags")
        pushed = push(context.store, context.settings, name, platform=platform, all_tags=every, progress=progress)
    output.lines(str(line) for line in pushed)
    return 0


COMMAND = Command(
    "push",
    "Send an image to a registry",
    _run,
    usage="NAME[:TAG]",
    sections={
        "Options": [
            switch("all-tags", "Send every tag of the repository", short="a"),
            Flag("platform", "Send this platform only", value="os/arch"),
            switch("quiet", "Show no progress", short="q"),
        ]
    },
    about="""A layer that the registry has is not sent again. Where no compressed form was kept, the layer is compressed anew: its
    DiffID stays, the manifest's digest changes, and a line says so.""",
    examples=[
        ("estiba tag app localhost:5000/app:1.2", "name it for the registry"),
        ("estiba push localhost:5000/app:1.2", "send it"),
    ],
    aliases=("image push", "kernel push"),
    least=1,
    most=1,
    complete="image",
)
