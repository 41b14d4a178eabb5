"""``estiba events``: what happens to containers and images."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, many

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.events import events

    show = _shower(found.string("format"))
    for event in events(context.store, since=found.string("since"), until=found.string("until"), filters=found.strings("filter")):
        output.raw(show(event) + "\n")
    return 0


def _shower(form: str) -> Callable[[dict[str, Any]], str]:
    from estiba.cli.template_functions import to_json

    if form == "":
        return _line
    if form in ("json", "{{json .}}"):
        return to_json
    from estiba.cli.template import Template

    template = Template(form)
    return lambda event: template.render(_fields(event))


def _line(event: dict[str, Any]) -> str:
    actor = event["Actor"]
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(actor["Attributes"].items()))
    return output.escape(f"{_moment(event['timeNano'])} {event['Type']} {event['Action']} {actor['ID']} ({attributes})")


def _moment(nanoseconds: int) -> str:
    """RFC 3339 in the caller's zone, with all digits of the fraction."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC).astimezone()
    zone = moment.strftime("%z")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09}" + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")


def _fields(event: dict[str, Any]) -> dict[str, object]:
    """The event under the names of Go's fields."""
    names = {"status": "Status", "id": "ID", "from": "From", "scope": "Scope", "time": "Time", "timeNano": "TimeNano"}
    return {"Status": "", "ID": "", "From": "", **{names.get(name, name): value for name, value in event.items()}}


COMMAND = Command(
    "events",
    "Show what happens to containers and images",
    _run,
    sections={
        "Options": [
            many("filter", "container=, event=, image=, label=, type=, scope=", short="f", value="key=value"),
            Flag("format", "'json' or a Go template for each event", value="template"),
            Flag("since", "Also what happened since then: a time (2026-01-31T12:00:00Z) or an age (10m)", value="time"),
            Flag("until", "No longer than until then", value="time"),
        ]
    },
    about="""Without --until it goes on until it is interrupted. What happened before the machine was started is forgotten, and so is
    what is older than about two megabytes of events.""",
    examples=[
        ("estiba events", "what happens from now on"),
        ("estiba events --since 1h --until 0s", "the last hour"),
        ("estiba events -f event=die --format '{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}'", "who ends, and how"),
    ],
    aliases=("system events",),
)
