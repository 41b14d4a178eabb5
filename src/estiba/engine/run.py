"""`run`: a container in the foreground, from a name to the program's exit code. On the start path."""

from __future__ import annotations

import sys

from estiba.engine import supervision
from estiba.engine.create import create, describe
from estiba.engine.launching import give_up, prepare, wait, write_cidfile
from estiba.engine.selection import select
from estiba.engine.sweep import sweep
from estiba.errors import NotImplemented, OnFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.config.settings import Settings
    from estiba.engine.launching import Created
    from estiba.engine.missing_image import ProgressMaker
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store


#: `muted` of the bindings: the client copies neither output.
_BOTH = 3
_SINGLE_ID = "estiba: note: a single id, no other users inside; 'estiba doctor' says what root can do (subuid(5), uidmap)\n"


def run(
    store: Store,
    settings: Settings,
    options: RunOptions,
    *,
    progress: ProgressMaker | None = None,
    write: Callable[[str], object] | None = None,
    stay: bool = False,
) -> int:
    """Runs a container and waits for it.

    Without `stay` the helper takes this process's place, and nothing is returned: the helper exits with the program's code, or, for
    --detach, tells the id and exits with 0 when the program was executed. With it (the library), and for --explain, the code is
    returned. `progress` makes the receiver of a pull's progress; `write` takes the text of --dry-run, for standard output without it.

    Raises what `resolve` and `create` raise, and NotImplemented for options of networks.
    """
    _refuse(options)
    if options.explain:
        from estiba.engine.explain import explain

        return explain(store, settings, options, progress)
    with store.using():
        stack, reason = select(store, settings, options, progress)
        if options.dry_run:
            from estiba.engine.explain import description

            (write or sys.stdout.write)(description(describe(store, settings, options, stack, reason)))
            return 0
        sweep(store, settings)
        created = create(store, settings, options, stack, reason)
    if created.bindings.maps.kind == "single":
        sys.stderr.write(_SINGLE_ID)
    if created.supervised:
        supervision.ensure(settings, created.id, created.folder)
    if options.detach and stay:
        return _detach(store, settings, options, created, write or sys.stdout.write)
    launch = prepare(store, settings, options, created)
    if created.bindings.muted == _BOTH and not options.detach:  # as from Docker, the id for who sees nothing else
        (write or sys.stdout.write)(created.id + "\n")
    return wait(settings, created, launch) if stay else launch.exec()


def _detach(store: Store, settings: Settings, options: RunOptions, created: Created, write: Callable[[str], object]) -> int:
    """--detach in a process that goes on: the id is said as `write` says it, and a failure is raised."""
    from estiba.engine.start import spawn

    with OnFailure(give_up, store, settings, created):
        if options.cidfile:
            write_cidfile(options.cidfile, created.id)
    created.bindings.announce = ""
    spawn(settings, created)
    write(created.id + "\n")
    return 0


def _refuse(options: RunOptions) -> None:
    if options.publish:
        raise NotImplemented("cannot publish ports: a container has no network yet", hint="use --network host")
