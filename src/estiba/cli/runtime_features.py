"""``estiba runtime features``: what this runtime can do, as JSON."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.runtime import runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(_context: Context, _found: Invocation) -> int:
    from estiba.engine.oci_runtime.features import features
    from estiba.oci.strict_json import dumps

    output.raw(dumps(features(), indent=2).decode() + "\n")
    return 0


COMMAND = runtime_command(
    "features",
    "Show what the runtime can do as JSON",
    _run,
    usage="",
    examples=[("estiba runtime features", "hooks, mount options, capabilities and the like")],
    least=0,
    most=0,
)
