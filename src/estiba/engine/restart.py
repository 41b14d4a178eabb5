"""`restart`: a container is stopped, and started again. On the start path."""

from __future__ import annotations

from estiba.engine import containers, event_log, names
from estiba.engine.start import start
from estiba.engine.stop import Ending, leave_alone, stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store


def restart(store: Store, settings: Settings, name: str, *, timeout: int | None = None, number: int | None = None) -> str:
    """Stops a container as `stop` does where it runs, starts it in the background, and returns its id.

    Raises what `stop` and `start` raise.
    """
    return finish(store, settings, begin(store, name, timeout=timeout, number=number))


def begin(store: Store, name: str, *, timeout: int | None = None, number: int | None = None) -> Ending:
    """As `restart`, but does not wait for the end, `finish` does: several containers take their time together."""
    container = containers.find(store, name)
    leave_alone(store, container, keep=True)
    names.will_stay(container.folder)  # of --rm: until it has started again
    return Ending(container, timeout=timeout, number=number)


def finish(store: Store, settings: Settings, ending: Ending) -> str:
    """Waits for the end that `begin` asked for, and starts the container; returns its id. Raises what `stop` and `start` raise."""
    container = ending.container
    stopped(ending)
    start(store, settings, container.id)
    event_log.container(container, "restart")
    return container.id
