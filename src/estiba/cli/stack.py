"""``estiba image stack``: one image of several, without copying a layer."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.cli.table import aligned
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.stack import explain, stack

    name, platform = found.string("tag"), found.string("platform") or None
    if found.switch("explain"):
        hidden = explain(context.store, found.arguments, platform=platform)
        if hidden:
            rows = [("PATH", "KIND", "HIDDEN BY", "OF"), *((item.path, item.kind, item.by, item.of) for item in hidden)]
            output.lines(aligned(rows))
        else:
            output.talk("no image hides a file of another")
    if name:
        output.lines([stack(context.store, found.arguments, name, platform=platform).id])
    elif not found.switch("explain"):
        raise InvalidArgument("cannot stack images: the new image has no name", hint="estiba image stack -t NAME IMAGE IMAGE...")
    return 0


COMMAND = Command(
    "image stack",
    "Make one image of several, without copying a layer",
    _run,
    usage="IMAGE IMAGE...",
    sections={
        "Options": [
            switch("explain", "Name the files that one image hides from another"),
            Flag("platform", "Platform of the images, if they have several", value="os/arch"),
            Flag("tag", "Name of the new image", short="t", value="name"),
        ]
    },
    about="""The layers of the first image lie at the bottom. Command and user are the last image's, environments are merged and
    PATH is joined. 'estiba run --with' does the same for one container.""",
    examples=[("estiba image stack -t app-debug app busybox-tools", "an image without a shell, and tools to look into it")],
    least=2,
    most=None,
    complete="image",
)
