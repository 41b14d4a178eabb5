"""``estiba runtime ps``: the processes of a container."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Flag
from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.ps import processes, table
    from estiba.oci.strict_json import dumps

    name, *options = found.arguments
    pids = processes(root_of(found), name)
    if found.string("format") == "json":
        output.raw(dumps(pids).decode() + "\n")
    else:
        output.lines(table(pids, options))
    return 0


COMMAND = runtime_command(
    "ps",
    "List the processes of a container",
    _run,
    usage="ID [PS-OPTION...]",
    flags=(Flag("format", "'table' or 'json'", short="f", default="table", choices=("table", "json")),),
    examples=[("estiba runtime ps --format json web", "the pids alone")],
    most=None,
    flags_end=1,
)
