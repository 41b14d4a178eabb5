"""``estiba system df``: what takes space, and what sharing saved."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, switch
from estiba.cli.images import short_id
from estiba.cli.table import format_flag, show
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

_COLUMNS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_IMAGE = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}
_CONTAINER = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "Size": "SIZE",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Names": "NAMES",
}


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.df import df

    form = found.string("format")
    if found.switch("verbose"):
        return _show_each(context, form)
    usage = df(context.store)
    if form:
        show(usage.rows, _COLUMNS, form=form)
    else:
        output.lines(usage.lines())
    return 0


def _show_each(context: Context, form: str) -> int:
    """Docker's two tables of what takes space, or the same as JSON."""
    from estiba.engine.df import images_in_detail
    from estiba.engine.ps import ps

    if form not in ("", "json"):
        raise InvalidArgument("cannot use --verbose with a template", hint="with --verbose, --format takes json only")
    images = images_in_detail(context.store)
    containers, _ = ps(context.store, context.settings, every=True)
    for row in images:
        row.ID = short_id(row.ID)
    if form == "json":
        from estiba.cli.template_functions import to_json

        output.raw("".join(to_json({"Images": _objects(images, _IMAGE), "Containers": _objects(containers, _CONTAINER)})) + "\n")
        return 0
    output.lines(["Images space usage:", ""])
    show(images, _IMAGE)
    output.lines(["", "Containers space usage:", ""])
    show(containers, _CONTAINER)
    return 0


def _objects(rows: Sequence[object], columns: Mapping[str, str]) -> list[dict[str, object]]:
    return [{field: getattr(row, field) for field in columns} for row in rows]


COMMAND = Command(
    "system df",
    "Show what takes space, and what sharing saved",
    _run,
    sections={"Options": [format_flag("Go template"), switch("verbose", "Each image and each container", short="v")]},
    examples=[
        ("estiba system df", "images, layers, and the space that sharing saved"),
        ("estiba system df -v", "what each image shares with others, and what each container wrote"),
    ],
)
