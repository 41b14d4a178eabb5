"""``estiba load``: images from an archive."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.cli.streams import open_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import progress_for
    from estiba.engine.load import load

    platform, source = found.string("platform") or None, found.string("input")
    with progress_for(quiet=found.switch("quiet")) as progress:
        if source not in ("", "-"):
            loaded = load(context.store, context.settings, source, platform=platform, progress=progress)
        else:
            with open_input("-", "load") as stream:
                loaded = load(context.store, context.settings, stream, platform=platform, progress=progress)
    output.lines(item.line for item in loaded)
    return 0


COMMAND = Command(
    "load",
    "Take images out of an archive",
    _run,
    sections={
        "Options": [
            Flag("input", "Archive or folder to read, instead of standard input", short="i", value="file", complete="file"),
            Flag("platform", "Load this platform only", value="os/arch"),
            switch("quiet", "Show no progress", short="q"),
        ]
    },
    about="The archive is one of 'estiba save' or 'docker save', or an OCI image layout as an archive or a folder.",
    examples=[("estiba load -i images.tar", "every image in it"), ("docker save app | estiba load", "from another engine")],
    aliases=("image load",),
)
