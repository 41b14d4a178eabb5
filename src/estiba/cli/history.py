"""``estiba history``: how an image was made."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.cli.images import short_id
from estiba.cli.table import format_flag, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_LONGEST_COMMAND = 45


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.history import history

    rows = history(context.store, found.arguments[0], platform=found.string("platform") or None)
    if not found.switch("no-trunc"):
        for row in rows:
            row.ID = short_id(row.ID)
            row.CreatedBy = _shortened(row.CreatedBy)
    if not found.switch("human"):
        for row in rows:
            row.Size, row.CreatedSince = str(row.size), row.CreatedAt
    if found.switch("quiet"):
        output.lines(row.ID for row in rows)
    else:
        show(rows, _COLUMNS, default=("ID", "CreatedSince", "CreatedBy", "Size", "Comment"), form=found.string("format"))
    return 0


def _shortened(text: str) -> str:
    """One line of at most 45 characters, as Docker's."""
    line = text.replace("\t", " ")
    return line if len(line) <= _LONGEST_COMMAND else line[: _LONGEST_COMMAND - 1] + "…"


COMMAND = Command(
    "history",
    "Show how an image was made",
    _run,
    usage="IMAGE",
    sections={
        "Options": [
            format_flag("Go template"),
            switch("human", "Sizes and ages in words", short="H", default=True),
            switch("no-trunc", "Show ids and commands in full"),
            Flag("platform", "Platform of the image, if it has several", value="os/arch"),
            switch("quiet", "Show ids only", short="q"),
        ]
    },
    examples=[("estiba history --no-trunc alpine", "each step with its whole command")],
    aliases=("image history",),
    least=1,
    most=1,
    complete="image",
)
