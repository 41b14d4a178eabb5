"""`rm`: a container, and all that is of it, goes. On the start path."""

from __future__ import annotations

import os

from estiba.engine import containers, event_log, names, reclaim, records, supervision
from estiba.engine.stop import Ending, LeftAlone
from estiba.errors import Conflict, NotFound, OnFailure
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
    removal = Removal(store, settings, name, force=force)
    container_id = removal.finish()
    if removal.left:
        give_back(store, settings)
    return container_id


def give_back(store: Store, settings: Settings, *, behind: bool = False) -> None:
    """Gives back the space of what was removed: once for all of a command, for it takes as long as all the rest.

    `behind`: by a command that does not wait for that. Raises PermissionDenied, FailedPrecondition.
    """
    from estiba.store import layers

    layers.empty_trash(store, settings, behind=behind)


class Removal:
    """A container that goes. With `force` its program is killed as soon as this is made: several end at the same time, and each one's
    monitor takes it away as that of --rm does. `left` tells that its files wait for `give_back`.

    Raises NotFound, Conflict while it runs.
    """

    def __init__(self, store: Store, settings: Settings, name: str, *, force: bool = False) -> None:
        self._store = store
        self._settings = settings
        self._container = containers.find(store, name)
        self._ending: Ending | None = None
        self.left = False
        if not force:
            _refuse_running(self._container)
            return
        try:
            with LeftAlone(store, self._container) as container:
                self._kill(container)
        except (NotFound, FileNotFoundError):
            return  # it has just gone, as `finish` will find

    def _kill(self, container: Container) -> None:
        self._container = container
        if container.pid:
            names.may_go(container.folder, container.name)
        self._ending = Ending(container, timeout=0, number=signals.SIGKILL)
        if self._ending.runs:  # not before the kill: a crash between the two must not leave one that runs, and vanishes some day
            names.goes_now(container.folder)

    def finish(self) -> str:
        """Removes it, but for the space of its files (`give_back`), and returns its id.

        Raises Conflict when it runs again, Unavailable when the kernel does not let its program end.
        """
        container = self._container
        try:
            if self._ending is not None:
                with OnFailure(self._leave):
                    self._ending.finish()
            with containers.lock(container):
                container = containers.again(self._store, container)
                held = containers.hold(container)
                try:
                    _refuse_running(container)
                    _take_away(self._store, self._settings, container)
                    self.left = True
                finally:
                    if held is not None:
                        os.close(held)
        except (NotFound, FileNotFoundError):
            pass  # its monitor, or another command, was faster
        return container.id

    def _leave(self) -> None:
        """What this command says that it cannot remove does not vanish later."""
        if not self._container.remove:
            names.will_stay(self._container.folder)


def _take_away(store: Store, settings: Settings, container: Container) -> None:
    """Notes what goes before anything does: the next command finishes it, should this one be killed."""
    supervision.dismiss(container)
    left = records.read(settings, container.id)
    if left is not None:  # its watchers were killed
        reclaim.release(settings, left)
        if not os.path.exists(container.folder):  # of --rm
            return
    record = records.Record(container.id, container.folder)
    record.name, record.trash = f"{store.names}/{container.name}", store.trash
    record.write(settings)
    records.unlink(f"{container.folder}/state.json")  # from now on it is no container
    reclaim.release(settings, record)
    event_log.container(container, "destroy")


def _refuse_running(container: Container) -> None:
    if container.status in ("created", "exited"):
        return
    raise Conflict(
        f"cannot remove container {container.name}: it is {container.status}", hint=f"stop it first, or: estiba rm -f {container.name}"
    )
