"""`rm`: a container, and all that is of it, goes. On the start path."""

from __future__ import annotations

import os

from estiba.engine import containers, event_log, records, supervision
from estiba.engine.stop import end, leave_alone
from estiba.errors import Conflict, NotFound
from estiba.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.store.layout import Store


def rm(store: Store, settings: Settings, name: str, *, force: bool = False) -> str:
    """Removes a container and everything of it, and returns its id; `force` kills it first where it runs.

    Raises NotFound, Conflict while it runs, Unavailable when the kernel does not let its program end.
    """
    from estiba.store import layers

    container = containers.find(store, name)
    if not force:
        _refuse_running(container)
    try:
        if force:
            leave_alone(store, container)
            end(container, timeout=0, number=signals.SIGKILL)
        with containers.lock(container):
            container = containers.again(store, container)
            held = containers.hold(container)
            try:
                _refuse_running(container)
                _take_away(store, settings, container)
            finally:
                if held is not None:
                    os.close(held)
    except (NotFound, FileNotFoundError):
        return container.id  # --rm, or another command was faster
    layers.empty_trash(store, settings)
    return container.id


def _take_away(store: Store, settings: Settings, container: Container) -> None:
    """Notes what goes before anything does: the next command finishes it, should this one be killed."""
    supervision.dismiss(container)
    left = records.read(settings, container.id)
    if left is not None:  # its watchers were killed
        records.release(settings, left)
        if not os.path.exists(container.folder):  # of --rm
            return
    record = records.Record(container.id, container.folder)
    record.name, record.trash = f"{store.names}/{container.name}", store.trash
    record.write(settings)
    records.unlink(f"{container.folder}/state.json")  # from now on it is no container
    records.release(settings, record)
    event_log.container(container, "destroy")


def _refuse_running(container: Container) -> None:
    if container.status in ("created", "exited"):
        return
    raise Conflict(
        f"cannot remove container {container.name}: it is {container.status}", hint=f"stop it first, or: estiba rm -f {container.name}"
    )
