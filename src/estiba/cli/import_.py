"""``estiba import``: an image from a root file system."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, many
from estiba.cli.streams import open_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import progress_for
    from estiba.engine.import_ import import_

    source = found.arguments[0]
    with open_input(source, "import") as stream, progress_for() as progress:
        image = import_(
            context.store,
            context.settings,
            stream,
            reference=found.arguments[1] if len(found.arguments) > 1 else None,
            changes=found.strings("change"),
            message=found.string("message"),
            platform=found.string("platform") or None,
            progress=progress,
        )
    output.lines([image.id])
    return 0


COMMAND = Command(
    "import",
    "Make an image from the tar of a root file system",
    _run,
    usage="FILE|- [NAME[:TAG]]",
    sections={
        "Options": [
            many("change", "Apply a Dockerfile instruction (CMD, ENV, USER, ...)", short="c", value="instruction"),
            Flag("message", "Comment of the image's history", short="m", value="text"),
            Flag("platform", "Platform of the image", value="os/arch"),
        ]
    },
    about="The tar may be plain or compressed by gzip, xz or zstd. Its id is written to standard output.",
    examples=[
        ("estiba import alpine-minirootfs.tar.gz alpine:3.20", "from a file"),
        ("estiba import -c 'CMD [\"/bin/sh\"]' - base < rootfs.tar", "from standard input, with a command"),
    ],
    aliases=("image import",),
    least=1,
    most=2,
    complete="file",
)
