"""``estiba runtime version`` and ``estiba-runtime --version``: in the lines that engines read from runc."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.runtime import runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, _found: Invocation) -> int:
    from estiba import __version__
    from estiba.engine.oci_runtime.config import SPEC_VERSION

    output.write(f"estiba-runtime version {__version__}\ncommit: {__version__}\nspec: {SPEC_VERSION}\n")
    return 0


COMMAND = runtime_command(
    "version",
    "Show the versions of the runtime and its specification",
    _run,
    usage="",
    examples=[("estiba runtime --version", "as 'estiba-runtime --version' does")],
    least=0,
    most=0,
)
