"""`run`: a container in the foreground, from a name to the program's exit code. On the start path."""

from __future__ import annotations

import os
import sys

from estiba.engine import records, supervision
from estiba.engine.create import create, describe
from estiba.engine.launching import take_back
from estiba.engine.resolve import foreign_note, resolve
from estiba.engine.sweep import sweep
from estiba.errors import AlreadyExists, NotImplemented, OnFailure, PermissionDenied
from estiba.runtime.launch import Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.config.settings import Settings
    from estiba.engine.launching import Created
    from estiba.engine.missing_image import ProgressMaker
    from estiba.engine.resolve import Stack
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
        stack = resolve(store, settings, options, progress)
        tell(stack, settings, options)
        if options.dry_run:
            from estiba.engine.explain import description

            (write or sys.stdout.write)(description(describe(store, settings, options, stack)))
            return 0
        sweep(store, settings)
        created = create(store, settings, options, stack)
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

    with OnFailure(_give_up, store, settings, created):
        if options.cidfile:
            write_cidfile(options.cidfile, created.id)
    created.bindings.announce = ""
    spawn(settings, created)
    write(created.id + "\n")
    return 0


def wait(settings: Settings, created: Created, launch: Launch) -> int:
    """Launches the container as a child, and returns its exit code when nothing of it is left."""
    code = launch.spawn().wait()
    records.finish(settings, created.record)
    return code


def _refuse(options: RunOptions) -> None:
    if options.publish:
        raise NotImplemented("cannot publish ports: a container has no network yet", hint="use --network host")


def tell(stack: Stack, settings: Settings, options: RunOptions) -> None:
    """Says on standard error what the user should know before the program starts."""
    for warning in stack.config.warnings:
        sys.stderr.write(f"estiba: warning: {warning}\n")
    note = foreign_note(stack.platform, options)
    if note:
        sys.stderr.write(f"estiba: warning: {note}\n")


def prepare(store: Store, settings: Settings, options: RunOptions, created: Created) -> Launch:
    """Makes the launch of a created container, and its --cidfile. What was made is taken back when that fails."""
    with OnFailure(_give_up, store, settings, created):
        launch = Launch(settings, created.plan, created.descriptors)
        if options.cidfile:
            write_cidfile(options.cidfile, created.id)
    return launch


def _give_up(store: Store, settings: Settings, created: Created) -> None:
    for descriptor in created.descriptors:
        os.close(descriptor)
    take_back(store, settings, created.record, new=True)


def write_cidfile(path: str, container_id: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise AlreadyExists(f"cannot write --cidfile {path}: the file exists", hint="remove it, or name another") from None
    except OSError as error:
        raise PermissionDenied(f"cannot write --cidfile {path}: {(error.strerror or 'failed').lower()}") from error
    os.write(descriptor, container_id.encode("ascii"))
    os.close(descriptor)
