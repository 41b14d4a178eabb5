"""What a command does before its own work: it takes back what crashes left, and starts supervisors again that were killed. On the start
path.
"""

from __future__ import annotations

import os
from time import time

from estiba.engine import event_log, reclaim, records, status, supervision

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store

#: A monitor needs milliseconds to remove what it moved to the trash.
_PATIENCE_SECONDS = 2


def sweep(store: Store, settings: Settings, *, thoroughly: bool = False) -> None:
    """Takes back what dead containers left on this machine, and empties a trash whose monitor was killed at it.

    `thoroughly`, for commands that look at every container anyway: all records are looked at, and what killed commands were writing.
    """
    # Whether a command has looked at this store since the machine was started.
    if not os.path.exists(seen := f"{event_log.folder(store.runtime)}/{event_log.store_key(store.containers)}"):
        from estiba.engine.after_boot import after_boot

        after_boot(store, settings, seen)
    if records.updating(store.runtime):
        from estiba.engine import updating

        updating.finish_all(store)
    _revive_all(store, settings)
    if records.staying(store.runtime):
        from estiba.engine import staying

        staying.let_go(store, settings)
    if reclaim.sweep(settings, None if thoroughly else reclaim.SWEPT_PER_START) or _is_abandoned(store.trash):
        from estiba.store.layers import empty_trash

        empty_trash(store, settings)
    if thoroughly and _is_abandoned(store.ingest):
        from estiba.store import gc

        gc.sweep(store)


def _revive_all(store: Store, settings: Settings) -> None:
    """Starts the supervisors of this store's containers that were killed."""
    for container_id in supervision.waiting(store.runtime):
        entry = supervision.path(store.runtime, container_id)
        if not status.is_held(entry) and _is_of(store, entry, container_id):
            _revive(store, settings, container_id)


def _is_of(store: Store, entry: str, container_id: str) -> bool:
    """Tells whether the container is one of the store's. Whoever made the entry may have been killed before he wrote that."""
    folder = f"{store.containers}/{container_id}"
    try:
        with open(entry, encoding="utf-8", errors="surrogateescape") as file:
            written = file.readline().rstrip("\n")
    except FileNotFoundError:
        return False
    return written == folder or (not written and os.path.isdir(folder))


def _revive(store: Store, settings: Settings, container_id: str) -> None:
    from estiba.engine import containers
    from estiba.errors import NotFound

    container = containers.read(store, container_id)
    if container is None:
        supervision.forget(supervision.path(store.runtime, container_id))
        return
    try:
        with containers.lock(container):
            container = containers.again(store, container)
            if supervision.is_wanted(container) and container.asked != "stop":
                supervision.ensure(settings, container.id, container.folder)
            else:
                supervision.dismiss(container)
    except NotFound:
        supervision.forget(supervision.path(store.runtime, container_id))


def _is_abandoned(folder: str) -> bool:
    """Tells whether something lies in the folder (the trash, or `ingest`) that nobody may be about to remove. Whether somebody works at it
    is then looked at closely, and emptying the trash twice at once does no harm, so a wrong clock costs a process and no more.
    """
    for name in os.listdir(folder):
        try:
            if time() - os.stat(f"{folder}/{name}", follow_symlinks=False).st_ctime > _PATIENCE_SECONDS:
                return True
        except FileNotFoundError:
            continue
    return False
