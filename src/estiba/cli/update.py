"""``estiba update``: other limits and another restart policy for containers."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag
from estiba.cli.run import LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_OLD = tuple(Flag(f"cpu-rt-{what}", "", ignored="real-time limits are of cgroup v1 only") for what in ("period", "runtime"))


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each
    from estiba.engine.update import update
    from estiba.errors import InvalidArgument
    from estiba.runtime.options import RunOptions
    from estiba.runtime.parse_lifecycle import restart
    from estiba.runtime.parse_limits import CHANGEABLE

    options = RunOptions()
    for name in found.values:
        if name in CHANGEABLE:
            CHANGEABLE[name](options, found.string(name))
    policy = found.given("restart")
    if policy:
        restart(options, found.string("restart"))
    if not found.values:
        raise InvalidArgument("cannot update containers: nothing to change was given", hint="see 'estiba update --help'")
    return each(context, found.arguments, lambda name: update(context.store, context.settings, name, options, policy=policy))


COMMAND = Command(
    "update",
    "Change limits of containers, also while they run",
    _run,
    usage="CONTAINER [CONTAINER...]",
    sections={
        "Options": [
            *LIMITS,
            Flag("restart", "When it is started again: no, on-failure[:attempts], always, unless-stopped", value="policy"),
        ],
        "Other": _OLD,
    },
    examples=[
        ("estiba update -m 512m --memory-swap 1g web", "memory, at once and for each later start"),
        ("estiba update --restart always web db", "two of them"),
    ],
    aliases=("container update",),
    least=1,
    most=None,
    complete="container",
)
