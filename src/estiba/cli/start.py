"""``estiba start``: run containers that were created or have ended."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag, switch
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each
    from estiba.engine import start
    from estiba.engine.sweep import sweep
    from estiba.runtime.parse_streams import DEFAULT_DETACH_KEYS, detach_keys

    stdin = found.switch("interactive")
    names: Sequence[str] = found.arguments
    if found.switch("wanted"):
        names = start.wanted(context.store, names)
    elif not names:
        raise InvalidArgument("cannot parse 'estiba start': it needs at least 1 argument: CONTAINER [CONTAINER...]")
    if not (stdin or found.switch("attach")):
        return each(context, names, lambda name: start.start(context.store, context.settings, name))
    if len(found.arguments) > 1:
        raise InvalidArgument("cannot start several containers with their streams at once")
    keys = detach_keys(found.string("detach-keys") or DEFAULT_DETACH_KEYS)
    sweep(context.store, context.settings)
    return start.attached(context.store, context.settings, found.arguments[0], stdin=stdin, detach_keys=keys)


COMMAND = Command(
    "start",
    "Start containers",
    _run,
    usage="CONTAINER [CONTAINER...]",
    sections={
        "Options": [
            switch("attach", "Show the output, pass signals on, exit with the program's code", short="a"),
            Flag("detach-keys", "Keys that leave the container running, ctrl-p,ctrl-q where nothing is given", value="keys"),
            switch("interactive", "Pass standard input on", short="i"),
            switch("wanted", "Only those, or of all, that their restart policy brings back after a boot"),
        ]
    },
    examples=[("estiba start web", "in the background"), ("estiba start -a job", "and wait for its end")],
    aliases=("container start",),
    least=0,
    most=None,
    complete="container",
)
