"""`kill`: a signal to a container's program. On the start path."""

from __future__ import annotations

import os

from estiba.engine import containers
from estiba.engine.stop import LeftAlone, kill_for_good, send, settled, stop_number, unpaused
from estiba.errors import FailedPrecondition
from estiba.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.engine.containers import Container
    from estiba.store.layout import Store


def kill(store: Store, name: str, number: int = signals.SIGKILL) -> str:
    """Sends a signal to the program; returns the container's id. Does not wait, but for the end that SIGKILL brings.

    SIGKILL and the container's stop signal mean that it is not to be restarted, and goes on where it is paused, as in Docker. Other
    signals wait until it does.
    Raises NotFound, Conflict, FailedPrecondition for a container that does not run, Unavailable.
    """
    container = containers.find(store, name)
    if container.status == "restarting" or number in (signals.SIGKILL, stop_number(container)):
        waited = container.status == "restarting"
        with LeftAlone(store, container, watch=number != signals.SIGKILL) as container:
            if container.pid or not waited:
                _signal(container, number)
    else:
        _signal(container, number)
    return container.id


def _signal(container: Container, number: int) -> None:
    descriptor = container.pidfd()
    if descriptor is None:
        raise FailedPrecondition(f"cannot kill container {container.name}: it is not running")
    try:
        if number == signals.SIGKILL:
            kill_for_good(container, descriptor)
            settled(container)
        else:
            send(container, descriptor, number)
            if number == stop_number(container):
                unpaused(container)
    finally:
        os.close(descriptor)
