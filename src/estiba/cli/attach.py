"""``estiba attach``: a terminal, or pipes, to a container that runs."""

from __future__ import annotations

from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.attach import attach
    from estiba.runtime.parse_streams import DEFAULT_DETACH_KEYS, detach_keys

    keys = detach_keys(found.string("detach-keys") or DEFAULT_DETACH_KEYS)
    name, stdin = found.arguments[0], not found.switch("no-stdin")
    return attach(context.store, context.settings, name, detach_keys=keys, stdin=stdin, sig_proxy=found.switch("sig-proxy"))


COMMAND = Command(
    "attach",
    "Attach to a running container",
    _run,
    usage="CONTAINER",
    sections={
        "Options": [
            Flag("detach-keys", "Keys that leave the container running, ctrl-p,ctrl-q where nothing is given", value="keys"),
            switch("no-stdin", "Pass no input on"),
            switch("sig-proxy", "Pass signals on to a program without a terminal", default=True),
        ]
    },
    about="""The exit code is the program's, or 0 after the detach keys. Several may attach at once; one that does not read for five
    seconds is let go, so that it holds up neither the program nor the others. `estiba logs` shows what was written before.""",
    examples=[
        ("estiba attach web", "until ctrl-p ctrl-q"),
        ("estiba attach --no-stdin --sig-proxy=false web", "only look; ctrl-c ends the looking"),
    ],
    aliases=("container attach",),
    least=1,
    most=1,
    complete="container",
)
