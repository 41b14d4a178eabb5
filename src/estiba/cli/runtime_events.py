"""``estiba runtime events``: figures of a container."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Flag, switch
from estiba.cli.runtime import root_of, runtime_command
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.events import events
    from estiba.oci.strict_json import dumps

    distance = None if found.switch("stats") else _seconds(found.string("interval"))
    for event in events(root_of(found), found.arguments[0], distance):
        output.raw(dumps(event).decode("utf-8", "replace") + "\n")
    return 0


def _seconds(text: str) -> float:
    number = text.removesuffix("s")
    if not (number.isascii() and number.replace(".", "", 1).isdigit()) or float(number) <= 0:
        raise InvalidArgument(f"cannot show events: {text!r} is no number of seconds", hint="--interval 5s")
    return float(number)


COMMAND = runtime_command(
    "events",
    "Show figures of a container as lines of JSON",
    _run,
    flags=(
        switch("stats", "Show them once"),
        Flag("interval", "Time between two lines", value="duration", default="5s"),
    ),
    examples=[("estiba runtime events --stats web", "processor, memory, processes and disk")],
)
