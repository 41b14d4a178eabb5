"""``estiba rm``: remove containers."""

from __future__ import annotations

from estiba.cli.arguments import Command, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli import output
    from estiba.cli.each import each, together
    from estiba.engine.rm import Removal, give_back
    from estiba.errors import NotFound

    store, settings = context.store, context.settings

    removals: list[Removal] = []

    def begin(name: str) -> Removal:
        removals.append(Removal(store, settings, name, force=found.switch("force")))
        return removals[-1]

    def kill(name: str) -> Removal | None:
        try:
            return begin(name)
        except NotFound as error:  # as Docker: what is not there needs no removal
            output.talk(f"estiba: note: {error.message}")
            return None

    try:
        if found.switch("force"):
            return together(context, found.arguments, kill, Removal.finish)
        return each(context, found.arguments, lambda name: begin(name).finish())
    finally:
        if any(removal.left for removal in removals):
            give_back(store, settings, behind=True)


COMMAND = Command(
    "rm",
    "Remove containers",
    _run,
    usage="CONTAINER [CONTAINER...]",
    sections={
        "Options": [
            switch("force", "Kill one that runs first; no failure for one that is not there", short="f"),
            switch("link", "", short="l", refused="containers are not linked"),
            switch("volumes", "The folders of VOLUME, which go in any case", short="v"),
        ]
    },
    examples=[("estiba rm job", "one that has ended"), ("estiba rm -f web", "one that runs, too")],
    aliases=("container rm", "container remove"),
    least=1,
    most=None,
    complete="container",
)
