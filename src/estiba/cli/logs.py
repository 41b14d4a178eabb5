"""``estiba logs``: what a container has written."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.logs import NOTE, Query, logs

    query = Query(
        follow=found.switch("follow"),
        since=found.string("since"),
        until=found.string("until"),
        tail=found.string("tail"),
        timestamps=found.switch("timestamps"),
        details=found.switch("details"),
    )
    for stream, text in logs(context.store, context.settings, found.arguments[0], query):
        if stream == NOTE:
            output.talk(f"estiba: note: {text.decode('utf-8', 'replace')}")
        elif stream == output.STDERR:
            output.write_bytes(output.STDERR, text)
        else:
            _write(text)
    return 0


def _write(text: bytes) -> None:
    try:
        output.write_bytes(output.STDOUT, text)
    except OSError as error:
        raise output.OutputError(error) from error


COMMAND = Command(
    "logs",
    "Show what a container has written",
    _run,
    usage="CONTAINER",
    sections={
        "Options": [
            switch("details", "Show the labels and variables of --log-opt before each line"),
            switch("follow", "Go on until the container ends", short="f"),
            Flag("since", "Only what is not older: a time (2026-01-31T12:00:00Z) or an age (10m)", value="time"),
            Flag("tail", "Only so many lines of the end", short="n", value="lines", default="all"),
            switch("timestamps", "Show the time before each line", short="t"),
            Flag("until", "Only what is not newer", value="time"),
        ]
    },
    about="""What the program wrote to its standard output goes to standard output, its standard error to standard error. A log that is
    rotated or removed meanwhile is read to its end.""",
    examples=[
        ("estiba logs -f --tail 20 web", "the last lines, and what comes"),
        ("estiba logs --since 10m -t web", "the last ten minutes, with times"),
    ],
    aliases=("container logs",),
    least=1,
    most=1,
    complete="container",
)
