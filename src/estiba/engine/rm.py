"""`rm`: a container, and all that is of it, goes. On the start path."""

from __future__ import annotations

import os

from estiba.engine import containers, event_log, records, supervision
from estiba.engine.stop import Ending, leave_alone
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
    container_id = Removal(store, settings, name, force=force).finish()
    give_back(store, settings)
    return container_id


def give_back(store: Store, settings: Settings, *, behind: bool = False) -> None:
    """Gives back the space of what was removed: once for all of a command, for it takes as long as all the rest.

    `behind`: by a command that does not wait for that. Raises PermissionDenied, FailedPrecondition.
    """
    from estiba.store import layers

    layers.empty_trash(store, settings, behind=behind)


class Removal:
    """A container that goes. With `force` its program is killed as soon as this is made: several end at the same time.

    Raises NotFound, Conflict while it runs.
    """

    def __init__(self, store: Store, settings: Settings, name: str, *, force: bool = False) -> None:
        self._store = store
        self._settings = settings
        self._container = containers.find(store, name)
        self._ending: Ending | None = None
        if not force:
            _refuse_running(self._container)
            return
        try:
            leave_alone(store, self._container)
        except NotFound:
            return  # it has just gone, as `finish` will find
        self._ending = Ending(self._container, timeout=0, number=signals.SIGKILL)

    def finish(self) -> str:
        """Removes it, but for the space of its files (`give_back`), and returns its id.

        Raises Conflict when it runs again, Unavailable when the kernel does not let its program end.
        """
        container = self._container
        try:
            if self._ending is not None:
                self._ending.finish()
            with containers.lock(container):
                container = containers.again(self._store, container)
                held = containers.hold(container)
                try:
                    _refuse_running(container)
                    _take_away(self._store, self._settings, container)
                finally:
                    if held is not None:
                        os.close(held)
        except (NotFound, FileNotFoundError):
            pass  # --rm, or another command was faster
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
