"""``estiba tag``: give an image a further name."""

from __future__ import annotations

from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.tag import tag

    tag(context.store, *found.arguments)
    return 0


COMMAND = Command(
    "tag",
    "Give an image a further name",
    _run,
    usage="IMAGE NAME[:TAG]",
    examples=[("estiba tag alpine localhost:5000/alpine:3.20", "name it for a registry")],
    aliases=("image tag",),
    least=2,
    most=2,
    complete="image",
)
