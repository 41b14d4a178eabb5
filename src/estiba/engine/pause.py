"""`pause` and `unpause`: all processes of a container stand still, and go on."""

from __future__ import annotations

from estiba.config.settings import Settings
from estiba.engine import containers, event_log, freeze
from estiba.errors import Conflict, FailedPrecondition
from estiba.store.layout import Store


def pause(store: Store, settings: Settings, name: str) -> str:
    """Has all processes of a container stand still, and returns its id. They take no processor time, and keep their memory.

    Raises NotFound, Conflict (an ambiguous id, it is paused already, it is being restarted), FailedPrecondition for a container that does
    not run or that nothing can hold here.
    """
    container = containers.find(store, name)
    with containers.lock(container):
        container = containers.again(store, container)
        if container.status in ("paused", "restarting"):
            word = "it is already paused" if container.status == "paused" else "it is restarting"
            raise Conflict(f"cannot pause container {container.name}: {word}")
        if not container.pid:
            raise FailedPrecondition(f"cannot pause container {container.name}: it is not running")
        freeze.hold(settings, container)
        event_log.container(container, "pause")
    return container.id


def unpause(store: Store, name: str) -> str:
    """Lets a paused container go on, and returns its id.

    Raises NotFound, Conflict (an ambiguous id, it is not paused), FailedPrecondition for one that does not run.
    """
    container = containers.find(store, name)
    with containers.lock(container):
        container = containers.again(store, container)
        if not container.pid:
            raise FailedPrecondition(f"cannot unpause container {container.name}: it is not running")
        if container.status != "paused":
            raise Conflict(f"cannot unpause container {container.name}: it is not paused")
        freeze.let_go(container)
        event_log.container(container, "unpause")
    return container.id
