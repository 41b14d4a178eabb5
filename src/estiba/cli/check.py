"""``estiba system check``: read every object of the store."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.check import check

    report = check(context.store, context.settings, repair=found.switch("repair"))
    if found.string("format") == "json":
        from estiba.cli.template_functions import to_json

        output.raw(to_json(report.to_json()) + "\n")
    else:
        output.lines(report.lines())
    return 0 if report.clean else 1


COMMAND = Command(
    "system check",
    "Read every object of the store and name what is damaged",
    _run,
    sections={
        "Options": [
            switch("repair", "Fetch again or remove what is damaged, and only that"),
            Flag("format", "How to write it", value="form", choices=("json",)),
        ]
    },
    about="The exit code is 1 while something is damaged.",
    examples=[("estiba system check --repair", "fetch damaged layers again")],
)
