"""``estiba version``: what is installed."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def version_line() -> str:
    """The line of ``estiba --version``."""
    from estiba import __version__

    return f"estiba version {__version__}"


def _facts() -> dict[str, object]:
    import platform
    import sys

    from estiba import __version__
    from estiba.oci.platform import host_platform

    return {
        "Version": __version__,
        "Python": sys.version.split()[0],
        "Platform": host_platform().text,
        "Kernel": platform.release(),
    }


def _run(_context: Context, found: Invocation) -> int:
    facts, form = _facts(), found.string("format")
    if form == "json":
        from estiba.cli.template_functions import to_json

        output.write(to_json(facts) + "\n")
    elif form:
        from estiba.cli.template import Template

        output.raw(Template(form).render(facts) + "\n")
    else:
        output.lines(f"{name + ':':<10} {value}" for name, value in facts.items())
    return 0


COMMAND = Command(
    "version",
    "Show the version",
    _run,
    sections={"Options": [Flag("format", "'json' or a Go template", short="f", value="template")]},
    examples=[("estiba version --format '{{.Version}}'", "the number alone")],
)
