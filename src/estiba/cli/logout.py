"""``estiba logout``: forget the credentials for a registry."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.logout import logout

    output.lines([logout(context.settings, found.arguments[0] if found.arguments else None)])
    return 0


COMMAND = Command("logout", "Forget the credentials for a registry", _run, usage="[REGISTRY]", most=1)
