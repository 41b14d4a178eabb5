"""``estiba doctor``: what this machine allows, and what to do where it does not."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.doctor import doctor

    report = doctor(context.settings)
    if found.string("format") == "json":
        from estiba.cli.template_functions import to_json

        output.raw(to_json(report.to_json()) + "\n")
    else:
        output.lines(report.lines())
    return 0 if report.healthy else 1


COMMAND = Command(
    "doctor",
    "Try what containers need of this machine",
    _run,
    sections={"Options": [Flag("format", "How to write it", value="form", choices=("json",))]},
    about="""Each line is a feature that was tried, not looked up, with the remedy where it failed. The exit code is 1 when
    containers cannot run.""",
)
