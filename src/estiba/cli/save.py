"""``estiba save``: images into an archive."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag
from estiba.cli.streams import open_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.save import save

    with open_output(found.string("output"), "save") as stream:
        save(context.store, found.arguments, stream, platform=found.string("platform") or None)
    return 0


COMMAND = Command(
    "save",
    "Put images into an archive",
    _run,
    usage="IMAGE [IMAGE...]",
    sections={
        "Options": [
            Flag("output", "File to write, instead of standard output", short="o", value="file", complete="file"),
            Flag("platform", "Save this platform only", value="os/arch"),
        ]
    },
    about="The archive is an OCI image layout that Docker reads too. A file appears under its name when it is complete.",
    examples=[
        ("estiba save -o images.tar alpine app", "two images in one file"),
        ("estiba save app | docker load", "to another engine"),
    ],
    aliases=("image save",),
    least=1,
    most=None,
    complete="image",
)
