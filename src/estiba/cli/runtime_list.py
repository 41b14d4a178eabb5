"""``estiba runtime list``: the containers of a root."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Flag, switch
from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.list import containers
    from estiba.oci.strict_json import dumps

    rows = containers(root_of(found))
    if found.switch("quiet"):
        output.lines(str(row["id"]) for row in rows)
    elif found.string("format") == "json":
        output.raw(dumps(rows).decode("utf-8", "replace") + "\n")
    else:
        table = [[name.upper() for name in _COLUMNS], *([str(row[name]) for name in _COLUMNS] for row in rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS))]
        output.lines("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table)
    return 0


COMMAND = runtime_command(
    "list",
    "List the containers of bundles",
    _run,
    usage="",
    flags=(
        Flag("format", "'table' or 'json'", short="f", default="table", choices=("table", "json")),
        switch("quiet", "Show ids alone", short="q"),
    ),
    examples=[("estiba runtime list --format json", "")],
    least=0,
    most=0,
)
