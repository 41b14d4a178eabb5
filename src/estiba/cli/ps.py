"""``estiba ps``: list containers. On the start path."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, many, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
    "CreatedAt": "CREATED AT",
    "State": "STATE",
    "HealthStatus": "HEALTH",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
}
_DEFAULT = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.ps import ps

    last = 1 if found.switch("latest") else _number(found.string("last"))
    rows, damaged = ps(
        context.store,
        context.settings,
        every=found.switch("all"),
        last=last,
        filters=found.strings("filter"),
        full=found.switch("no-trunc"),
    )
    for error in damaged:
        output.warn(error.message)
    form = found.string("format")
    if found.switch("quiet"):
        output.lines([row.ID for row in rows])
        return 0
    from estiba.cli.table import show

    default = (*_DEFAULT, "Size") if found.switch("size") else _DEFAULT
    show(rows, _COLUMNS, default=default, form=form)
    return 0


def _number(text: str) -> int:
    from estiba.errors import InvalidArgument

    if text == "-1":
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidArgument(f"cannot use --last {text!r}: it is not a number")
    return int(text)


COMMAND = Command(
    "ps",
    "List containers",
    _run,
    sections={
        "Options": [
            switch("all", "Also those that do not run", short="a"),
            many("filter", "id=, name=, label=, status=, exited=, ancestor=, before=, since=, volume=", short="f", value="key=value"),
            Flag("format", "'table', 'table TEMPLATE', 'json' or a Go template for each line", value="template"),
            Flag("last", "So many of the newest, in whatever state", short="n", value="number", default="-1"),
            switch("latest", "The newest, in whatever state", short="l"),
            switch("no-trunc", "Cut nothing short"),
            switch("quiet", "Only ids", short="q"),
            switch("size", "Also what each has written", short="s"),
        ]
    },
    examples=[
        ("estiba ps -a", "all of them"),
        ("estiba ps -aqf status=exited", "ids of those that have ended"),
        ("estiba ps --format '{{.Names}}\\t{{.Status}}'", "two columns"),
    ],
    aliases=("container ls", "container list", "container ps"),
)
