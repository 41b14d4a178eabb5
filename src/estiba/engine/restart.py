"""`restart`: a container is stopped, and started again. On the start path."""

from __future__ import annotations

import os

from estiba.engine import containers, event_log, names, records
from estiba.engine.start import start
from estiba.engine.stop import Ending, LeftAlone, stopped
from estiba.errors import EstibaError, NotFound
from estiba.linux.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.store.layout import Store


def restart(store: Store, settings: Settings, name: str, *, timeout: int | None = None, number: int | None = None) -> str:
    """Stops a container as `stop` does where it runs, starts it in the background, and returns its id.

    Raises what `stop` and `start` raise.
    """
    return finish(store, settings, begin(store, name, timeout=timeout, number=number))


def begin(store: Store, name: str, *, timeout: int | None = None, number: int | None = None) -> Restarting:
    """As `restart`, but does not wait for the end, `finish` does: several containers take their time together."""
    with LeftAlone(store, containers.find(store, name), keep=True) as container:
        return Restarting(container, timeout=timeout, number=number)


def finish(store: Store, settings: Settings, restarting: Restarting) -> str:
    """Waits for the end that `begin` asked for, and starts the container; returns its id. Raises what `stop` and `start` raise."""
    container = restarting.container
    with restarting.stays:
        stopped(restarting)
        try:
            start(store, settings, container.id, again=True)
        except EstibaError:  # an interrupt leaves it to its policy
            _give_up(store, container)
            raise
    event_log.container(container, "restart")
    return container.id


def _give_up(store: Store, container: Container) -> None:
    """It has been stopped, and could not be started: its policy does not try either."""
    try:
        with LeftAlone(store, container):
            pass
    except NotFound:
        return


class Restarting(Ending):
    """As `Ending`; a container of --rm `stays` meanwhile. By whoever has its lock."""

    __slots__ = ("stays",)

    def __init__(self, container: Container, *, timeout: int | None = None, number: int | None = None) -> None:
        self.stays = _Staying(container)
        super().__init__(container, timeout=timeout, number=number)


class _Staying:
    """A container of --rm that does not go with the end of its run. From now on, until the context is left.

    A link ``<runtime directory>/staying/<container id>`` leads to its folder, and the file `stays` in there is locked: when nobody holds it
    any more the next command sees to it that the container goes as it would have gone (engine/staying.py).
    """

    __slots__ = ("_link", "_lock")

    def __init__(self, container: Container) -> None:
        goes = container.remove and names.goes(container.folder)
        self._link = f"{container.runtime}/staying/{container.id}" if goes else ""
        self._lock = Lock(f"{container.folder}/stays", shared=True)
        if self._link:
            self._lock.acquire()
            os.makedirs(os.path.dirname(self._link), mode=0o700, exist_ok=True)
            try:
                os.symlink(container.folder, self._link)
            except FileExistsError:
                pass  # of another restart
        names.will_stay(container.folder)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._link:
            records.unlink(self._link)
        self._lock.release()
