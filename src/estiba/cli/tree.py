"""``estiba image tree``: which layers images and containers stand on, and who shares them."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.tree import tree

    forest = tree(context.store, found.arguments)
    if found.string("format") == "json":
        from estiba.cli.template_functions import to_json

        output.raw(to_json(forest.to_json()) + "\n")
    else:
        output.lines(forest.lines())
    return 0


COMMAND = Command(
    "image tree",
    "Show the layers that images and containers stand on, and which images share them",
    _run,
    usage="[IMAGE|CONTAINER...]",
    sections={"Options": [Flag("format", "How to write it", value="form", choices=("json",))]},
    about="""Without a name: all images, and the containers that run on a kernel of their own, which is the lowest layer of their stack.""",
    examples=[
        ("estiba image tree", "all images, and containers on other kernels"),
        ("estiba image tree app", "one image, or container, and who shares its layers"),
    ],
    most=None,
    complete="image",
)
