"""``estiba commit``: an image of a container's changes."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, many, switch
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import Quiet
    from estiba.engine.commit import commit

    image = commit(
        context.store,
        context.settings,
        found.arguments[0],
        found.arguments[1] if len(found.arguments) > 1 else None,
        author=found.string("author"),
        message=found.string("message"),
        changes=found.strings("change"),
        pause=_pause(found),
        progress=Quiet(),
    )
    output.lines([image.id])
    return 0


def _pause(found: Invocation) -> bool | None:
    if found.given("pause") and found.given("no-pause"):
        raise InvalidArgument("cannot commit: --pause and --no-pause exclude each other")
    if found.given("no-pause"):
        return not found.switch("no-pause")
    return found.switch("pause") if found.given("pause") else None


COMMAND = Command(
    "commit",
    "Make an image of what a container has changed",
    _run,
    usage="CONTAINER [NAME[:TAG]]",
    sections={
        "Options": [
            Flag("author", "Author of the image", short="a", value="text"),
            many("change", "Apply a Dockerfile instruction (CMD, ENV, USER, ...)", short="c", value="instruction"),
            Flag("message", "Comment of the image's history", short="m", value="text"),
            switch("no-pause", "Let a running container go on while its files are read"),
            switch("pause", "Fail where a running container cannot be frozen meanwhile", short="p"),
        ]
    },
    about="""The image has the container's layers and one more. What volumes and binds show is not in it. A running container stands
    still while its changes are read, and goes on whatever becomes of this command.""",
    examples=[
        ("estiba commit web web:configured", "an image with a name"),
        ("estiba commit -m 'with curl' -c 'CMD [\"curl\"]' box curl", "with a command of its own"),
    ],
    aliases=("container commit",),
    least=1,
    most=2,
    complete="container",
)
