"""``estiba create``: make a container that `start` runs."""

from __future__ import annotations

import os

from estiba.cli import output
from estiba.cli.arguments import Command
from estiba.cli.run import SECTIONS, options_from
from estiba.errors import EstibaError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context
    from estiba.cli.progress import Quiet

# What means nothing for a container that is not run yet.
_OF_RUN = ("detach", "dry-run", "explain", "detach-keys", "sig-proxy")


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.create import create_stopped
    from estiba.engine.launching import write_cidfile
    from estiba.engine.rm import rm
    from estiba.engine.selection import select
    from estiba.engine.sweep import sweep

    options = options_from(found)
    if options.cidfile and os.path.lexists(options.cidfile):
        raise InvalidArgument(f"cannot write --cidfile {options.cidfile}: the file exists", hint="remove it, or name another")

    def progress() -> Quiet:
        from estiba.cli.progress import progress_for

        return progress_for(quiet=options.quiet)

    store, settings = context.store, context.settings
    with store.using():
        stack, reason = select(store, settings, options, progress)
        sweep(store, settings)
        container_id = create_stopped(store, settings, options, stack, reason)
    if options.cidfile:
        try:
            write_cidfile(options.cidfile, container_id)
        except EstibaError:
            rm(store, settings, container_id)
            raise
    output.lines([container_id])
    return 0


COMMAND = Command(
    "create",
    "Create a container without running it",
    _run,
    usage="IMAGE [COMMAND] [ARG...]",
    sections={name: [flag for flag in flags if flag.name not in _OF_RUN] for name, flags in SECTIONS.items()},
    examples=[("estiba create --name job alpine date", "then: estiba start -a job")],
    aliases=("container create",),
    least=1,
    most=None,
    flags_end=1,
    failure=125,
    complete="image",
)
