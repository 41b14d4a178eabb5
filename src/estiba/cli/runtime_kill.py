"""``estiba runtime kill``: a signal for a container."""

from __future__ import annotations

from estiba.cli.arguments import switch
from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.kill import kill
    from estiba.runtime.parse_options import signal_number

    name, *rest = found.arguments
    word = rest[0] if rest else "TERM"
    number = 0 if word == "0" else signal_number(word, "the signal")  # 0 asks whether it could be sent (kill(2))
    kill(root_of(found), name, number, every=found.switch("all"))
    return 0


COMMAND = runtime_command(
    "kill",
    "Send a signal to a container",
    _run,
    usage="ID [SIGNAL]",
    flags=(switch("all", "Send it to every process of the container", short="a"),),
    examples=[("estiba runtime kill web KILL", "SIGTERM where none is given")],
    most=2,
)
