"""``estiba container systemd``: a unit that starts containers at boot."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.systemd import unit

    settings = context.settings
    program = [*_program(), "--root", settings.root]
    output.raw(unit(context.store, settings, found.arguments, program))
    return 0


def _program() -> list[str]:
    """This command by an absolute path, as systemd wants it."""
    import os
    import shutil
    import sys

    beside = os.path.join(os.path.dirname(sys.executable), "estiba")
    found = beside if os.access(beside, os.X_OK) else shutil.which("estiba")
    return [os.path.abspath(found)] if found else [sys.executable, "-m", "estiba"]


COMMAND = Command(
    "container systemd",
    "Write a unit for systemd that starts containers at boot",
    _run,
    usage="[CONTAINER...]",
    about="""The unit goes to standard output. It starts these containers, or without names all, that have the restart policy always, or
    unless-stopped and nobody stopped them, and stops them at shutdown so that the next boot brings them back.""",
    examples=[
        ("estiba container systemd >/etc/systemd/system/estiba.service", "then: systemctl enable --now estiba"),
        ("estiba container systemd web >~/.config/systemd/user/web.service", "of a user who has loginctl enable-linger"),
    ],
    most=None,
    complete="container",
)
