"""``estiba info``: this installation and this machine."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.info import info

    if found.switch("security"):
        from estiba.engine.security import security

        output.lines(f"{number}  {'yes' if has else 'no':<3}  {what:<42}  {how}" for number, what, has, how in security(context.settings))
        return 0
    facts, form = info(context.store, context.settings), found.string("format")
    if form == "json":
        from estiba.cli.template_functions import to_json

        output.raw(to_json(facts) + "\n")
    elif form:
        from estiba.cli.template import Template

        output.raw(Template(form).render(facts) + "\n")
    else:
        output.lines(_lines(facts))
    return 0


def _lines(facts: dict[str, object], indent: str = "") -> list[str]:
    from estiba.cli.template_functions import to_text

    lines: list[str] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{indent}{name}: {', '.join(to_text(item) for item in value)}")
        else:
            lines.append(f"{indent}{name}: {to_text(value)}")
    return lines


COMMAND = Command(
    "info",
    "Show this installation and this machine",
    _run,
    sections={
        "Options": [
            Flag("format", "'json' or a Go template", short="f", value="template"),
            switch("security", "Show the default hardening of containers and what of it holds here"),
        ]
    },
    examples=[("estiba info --security", "what separates a container from its host"), ("estiba info --format json", "for programs")],
    aliases=("system info",),
)
