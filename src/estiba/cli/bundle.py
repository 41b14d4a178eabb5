"""``estiba bundle``: a bundle that another OCI runtime can run."""

from __future__ import annotations

from estiba.cli.arguments import Command
from estiba.cli.run import COMMAND as RUN
from estiba.cli.run import options_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.bundle import bundle

    name, directory, *command = found.arguments
    found.arguments = [name, *command]
    bundle(context.store, context.settings, name, directory, options_from(found))
    return 0


_HEADINGS = ("Image", "Process", "Files", "Isolation", "Resources", "Network", "Other")

COMMAND = Command(
    "bundle",
    "Write a bundle that another OCI runtime can run",
    _run,
    usage="IMAGE FOLDER [COMMAND] [ARG...]",
    sections={heading: RUN.sections[heading] for heading in _HEADINGS},
    about="A bundle is a folder with config.json and rootfs. The flags are those of 'estiba run'.",
    examples=[("estiba bundle alpine alpine-bundle && runc run --bundle alpine-bundle shell", "run it with runc")],
    least=2,
    most=None,
    flags_end=1,
    complete="image",
)
