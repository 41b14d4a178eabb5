"""The supervisor of one container: checks its health, and starts it again as its restart policy says. A process of its own, which the
engine starts (`supervision.ensure`) and ends by SIGKILL (`supervision.dismiss`): it holds nothing that anybody would miss.

It waits for the lock of the status file, so it sleeps while the container runs, but for the checks.
"""

from __future__ import annotations

import os
import time

from estiba.config.settings import Settings, unpack
from estiba.engine import containers, health, start, status, supervision
from estiba.errors import EstibaError, NotFound
from estiba.linux.process import start_time
from estiba.store.layout import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.engine.containers import Container

#: Docker's: 0.1 s, doubled each time up to a minute, and from the beginning when the program ran for ten seconds.
FIRST_PAUSE, LONGEST_PAUSE, LONG_RUN = 0.1, 60.0, 10.0


def should_restart(container: Container) -> bool:
    """Tells whether the policy wants a container that has ended to run again."""
    if container.asked == "stop":
        return False
    if container.restart == "on-failure":
        return container.exit_code != 0 and not 0 < container.restart_maximum <= container.restarts
    return container.restart in ("always", "unless-stopped")


def next_pause(before: float, ran: float) -> float:
    """Seconds until the next start: `before` was waited the last time, and then the program ran for `ran` seconds."""
    if before == 0 or ran >= LONG_RUN:
        return FIRST_PAUSE
    return min(before * 2, LONGEST_PAUSE)


class Supervisor:
    """`descriptor` is that of its entry, whose lock it holds; `offset` the length of the status file before the program."""

    def __init__(self, store: Store, settings: Settings, container_id: str, descriptor: int, offset: int) -> None:
        self.store = store
        self.settings = settings
        self.id = container_id
        self.entry = descriptor
        self.offset = offset
        self.path = f"{store.containers}/{container_id}/status"
        self.pause = 0.0

    def run(self) -> None:
        """Does what there is to do until the container need not be looked after any more, or this process is killed."""
        os.write(self.entry, f"{os.getpid()} {start_time(os.getpid())}\n".encode("ascii"))
        try:
            began = time.monotonic()
            while True:
                ran = self._ends()
                if status.is_held(self.path):
                    continue  # somebody else has just started it
                if self._leaves(ran=ran):
                    return
                self.pause = next_pause(self.pause, time.monotonic() - began)
                time.sleep(self.pause)
                began = time.monotonic()
                self._start()
        except NotFound:
            supervision.forget(supervision.path(self.store.runtime, self.id))  # of --rm: nobody else takes the entry away

    def _ends(self) -> bool:
        """Waits until the container does not run; False when it was not executed at all."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            self._check()
            status.wait_for_end(descriptor)
            lines = os.pread(descriptor, 1 << 20, self.offset)
        finally:
            os.close(descriptor)
        return lines.startswith(b"running ") or b"\nrunning " in lines

    def _check(self) -> None:
        """Carries the health checks out until the program ends, where there are any."""
        container = containers.read(self.store, self.id)
        if container is None or not health.is_on(container.check):
            return
        from estiba.engine import probes

        try:
            probes.watch(self.settings, container)
        except FileNotFoundError:
            return  # of --rm, and it has just ended

    def _container(self) -> Container:
        container = containers.read(self.store, self.id)
        if container is None:
            raise NotFound(f"cannot find container {self.id}")
        return container

    def _leaves(self, *, ran: bool) -> bool:
        """Tells whether the policy is done with the container, and takes the entry away then. Decided under its lock: a start at the same
        moment is seen here, or sees that the entry is gone.
        """
        with containers.lock(self._container()):
            if status.is_held(self.path) or (ran and should_restart(self._container())):
                return False
            supervision.forget(supervision.path(self.store.runtime, self.id))
            return True

    def _start(self) -> None:
        container = self._container()
        if container.status == "running" or status.is_held(self.path):
            return  # somebody started it meanwhile
        self.offset = 0
        try:
            created = start.prepare(self.store, self.settings, container, attached=False, restarts=container.restarts + 1)
            if created is not None:
                start.spawn(self.settings, created)
        except NotFound:
            raise
        except (EstibaError, OSError) as error:
            status.fail(self.path, str(error))  # tried again, after a longer pause: the reason may pass


def main(words: Sequence[str]) -> None:
    """The process: container id, descriptor of the entry, offset, settings as JSON."""
    container_id, descriptor, offset, text = words
    settings = unpack(text).replace(lock_timeout=0)  # nobody is kept waiting
    os.chdir("/")  # no file system of the caller is kept busy
    store = Store.open(settings)
    Supervisor(store, settings, container_id, int(descriptor), int(offset)).run()
