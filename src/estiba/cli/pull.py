"""``estiba pull``: fetch an image from a registry."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import progress_for
    from estiba.engine.pull import pull, pull_all

    name, platform = found.arguments[0], found.string("platform") or None
    with progress_for(quiet=found.switch("quiet")) as progress:
        if found.switch("all-tags"):
            images = pull_all(context.store, context.settings, name, platform=platform, progress=progress)
        else:
            images = [pull(context.store, context.settings, name, platform=platform, progress=progress)]
    output.lines(image.reference.canonical for image in images)
    return 0


COMMAND = Command(
    "pull",
    "Fetch an image from a registry",
    _run,
    usage="NAME[:TAG|@DIGEST]",
    sections={
        "Options": [
            switch("all-tags", "Fetch every tag of the repository", short="a"),
            Flag("platform", "Platform of the image, if it has several", value="os/arch"),
            switch("quiet", "Show no progress", short="q"),
        ]
    },
    about="Progress is written to standard error, the image's full name to standard output.",
    examples=[
        ("estiba pull alpine", "the tag latest, from Docker Hub"),
        ("estiba pull localhost:5000/app:1.2", "from a registry of this machine, over plain HTTP"),
        ("estiba pull --platform linux/arm64 alpine", "for another processor"),
    ],
    aliases=("image pull", "kernel pull"),
    least=1,
    most=1,
    complete="image",
)
