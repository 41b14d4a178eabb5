"""``estiba kernel ls``: list the kernels of the store."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, switch
from estiba.cli.images import short_id
from estiba.cli.table import format_flag, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = {
    "Name": "NAME",
    "Kind": "KIND",
    "Release": "RELEASE",
    "Architecture": "ARCHITECTURE",
    "Default": "DEFAULT FOR",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
}


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.kernel_list import list_kernels

    rows = list_kernels(context.store)
    if not found.switch("no-trunc"):
        for row in rows:
            row.ID = short_id(row.ID)
    if found.switch("quiet"):
        output.lines(row.ID for row in rows)
    else:
        show(rows, _COLUMNS, form=found.string("format"))
    return 0


COMMAND = Command(
    "kernel ls",
    "List kernels",
    _run,
    sections={
        "Options": [
            format_flag("Go template"),
            switch("no-trunc", "Show ids in full"),
            switch("quiet", "Show ids only", short="q"),
        ]
    },
    aliases=("kernel list",),
    most=0,
)
