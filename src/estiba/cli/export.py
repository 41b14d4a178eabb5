"""``estiba export``: a container's files as a tar."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag
from estiba.cli.streams import open_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import Quiet
    from estiba.engine.export import export

    with open_output(found.string("output"), "export") as stream:
        export(context.store, context.settings, found.arguments[0], stream, progress=Quiet())
    return 0


COMMAND = Command(
    "export",
    "Put a container's files into a tar",
    _run,
    usage="CONTAINER",
    sections={"Options": [Flag("output", "File to write, instead of standard output", short="o", value="file", complete="file")]},
    about="""What volumes and binds show is not in it. The container may run or not. A file appears under its name when it is
    complete.""",
    examples=[
        ("estiba export -o web.tar web", "into a file"),
        ("estiba export web | estiba import - web:flat", "an image of one layer"),
    ],
    aliases=("container export",),
    least=1,
    most=1,
    complete="container",
)
