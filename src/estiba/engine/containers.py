"""The containers of a store: what `state.json` and `status` say, `list_containers`, `find`, `remove`.

state.json members: ``id name created`` (nanoseconds) ``reference image`` (the configuration's digest) ``layers command remove volumes``
(mounts for --volumes-from) ``labels reason stop_timeout interactive log platform restart health``, and ``options`` (stored_options.py).
It is replaced when a container is renamed or updated; what happens to it is in ``status`` (engine/status.py).
"""

from __future__ import annotations

import os
import time

from estiba.engine import documents, records, status, supervision
from estiba.errors import Conflict, DataLoss, NotFound, Unavailable
from estiba.linux import process
from estiba.linux.locks import Lock, try_flock
from estiba.oci.strict_json import as_dict, get_bool, get_dict, get_int, get_list, get_str, get_str_list, get_str_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from estiba.errors import EstibaError
    from estiba.store.layout import Store

_SHOWN = 8
#: How long watchers may need to take back what a run held.
_PATIENCE_SECONDS = 30


class Container:
    """One container, as its folder says it is at this moment.

    `status` is created, running, paused, restarting (its supervisor waits to start it again) or exited; the other facts are those of
    `engine.status`: `exit_code exit_signal started finished pid pid_started oom asked restarts ran error`. `restart` is the policy's name,
    and `restart_maximum` its number of attempts, 0 for no limit.
    """

    __slots__ = (
        "asked", "check", "command", "created", "entrypoint", "error", "exit_code", "exit_signal", "finished", "folder", "id", "image",
        "interactive", "kernel", "labels", "layers", "log", "name", "oom", "options", "pid", "pid_started", "platform", "ran", "reason",
        "reference", "remove", "restart", "restart_maximum", "restarts", "runtime", "started", "status", "stop_timeout", "volumes",
    )  # fmt: skip

    def __init__(self, folder: str, runtime: str, state: dict[str, object], standing: Mapping[str, str] | None = None) -> None:
        """`standing` is as in `refresh`."""
        what = f"{folder}/state.json"
        self.folder = folder
        self.runtime = runtime
        self.id = get_str(state, "id", what)
        self.name = get_str(state, "name", what)
        self.created = get_int(state, "created", what)
        self.reference = get_str(state, "reference", what)
        self.image = get_str(state, "image", what, "")
        self.layers = get_str_list(state, "layers", what)
        self.command = get_str_list(state, "command", what)
        self.entrypoint = get_int(state, "entrypoint", what, 0)  # the first words of `command` that are the entrypoint
        self.platform = get_str(state, "platform", what, "")
        self.remove = get_bool(state, "remove", what)
        self.volumes = [as_dict(entry, what) for entry in get_list(state, "volumes", what, [])]
        self.interactive = get_bool(state, "interactive", what, False)
        self.labels = get_str_map(state, "labels", what)
        self.log = get_dict(state, "log", what, {})
        self.options = get_dict(state, "options", what, {})
        self.kernel = get_dict(state, "kernel", what, {})
        self.reason = get_str(state, "reason", what, "")  # for its rung (engine/launching.py)
        self.check = get_dict(state, "health", what, {})  # engine/health.py
        timeout = state.get("stop_timeout")
        self.stop_timeout = timeout if type(timeout) is int else None
        policy = get_dict(state, "restart", what, {})
        self.restart = get_str(policy, "policy", what, "no")
        self.restart_maximum = get_int(policy, "maximum", what, 0)
        self.refresh(standing)

    def spec(self) -> dict[str, Any]:
        """The container's OCI runtime spec, from its config.json."""
        return documents.read_json(f"{self.folder}/config.json")

    def refresh(self, standing: Mapping[str, str] | None = None) -> None:
        """Looks again what became of it. A folder that is gone says nothing new.

        `standing` is what `_standing` returns, where the caller has asked it for many.
        """
        now = status.read(f"{self.folder}/status")
        self.status, self.ran, self.error = now.state, now.ran, now.error
        self.exit_code, self.exit_signal, self.oom = now.exit_code, now.exit_signal, now.oom
        self.started, self.finished = now.started, now.finished
        self.pid, self.pid_started = now.pid, now.pid_started
        self.asked, self.restarts = now.asked, now.restarts
        if self.restart != "no" and now.state == "exited" and status.is_held(supervision.path(self.runtime, self.id)):
            self.status = "restarting"
        elif now.state == "running" and (record := (_standing(self.runtime) if standing is None else standing).get(self.id)):
            from estiba.engine.freeze import stands_still

            self.status = "paused" if stands_still(record) else "running"

    def pidfd(self) -> int | None:
        """A descriptor of the program that runs, None when it does not (any more).

        The number may belong to another process by now: the start time, looked at while the descriptor holds the process, tells.
        """
        return process.pidfd(self.pid, self.pid_started) if self.pid else None


def _standing(runtime: str) -> dict[str, str]:
    """The records of containers that may stand still (engine/freeze.py), by id."""
    return {os.path.basename(path): path for path in records.stopped(runtime)}


def list_containers(store: Store, damaged: list[EstibaError] | None = None) -> list[Container]:
    """Returns the containers of the store, oldest first. A folder without state.json is one that is just being made.

    One that cannot be read hides no other: what is wrong with it is added to `damaged`, or raised as DataLoss where that is not given.
    """
    return _oldest_first(store, os.listdir(store.containers), damaged)


def list_running(store: Store, damaged: list[EstibaError] | None = None) -> list[Container]:
    """Those that run or are restarted, as `list_containers`. Only what holds something on this machine is looked at, however many
    there are.
    """
    found = _oldest_first(store, {*_names(f"{store.runtime}/live"), *supervision.waiting(store.runtime)}, damaged)
    return [container for container in found if container.status in ("running", "paused", "restarting")]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _oldest_first(store: Store, names: Iterable[str], damaged: list[EstibaError] | None) -> list[Container]:
    found = []
    standing = _standing(store.runtime)
    for name in names:
        try:
            container = read(store, name, standing)
        except DataLoss as error:
            if damaged is None:
                raise
            damaged.append(error)
            continue
        if container is not None:
            found.append(container)
    return sorted(found, key=lambda container: container.created)


def lock(container: Container, timeout: float | None = None) -> Lock:
    """The lock of verbs that change a container; whoever has it looks at the container again. NotFound when it was removed."""
    return Lock(f"{container.folder}/lock", what=f"container {container.name}", kind="container", timeout=timeout)


def hold(container: Container) -> int | None:
    """The status file, open and locked, by whoever has the container's lock and has just looked at it; None when the container runs.

    A launch on its way is waited for, and so are the watchers of a run that has ended. Raises Unavailable when they do not end.
    """
    path = f"{container.folder}/status"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    deadline, pause = time.monotonic() + _PATIENCE_SECONDS, 0.001
    while not try_flock(descriptor):
        if container.pid:
            os.close(descriptor)
            return None
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise Unavailable(f"cannot use container {container.name}: the processes that watched its last run do not end")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
        container.refresh()
    return descriptor


def mounted(container: Container, *, shared: bool) -> Lock:
    """Held, shared, by who sees the root of a running container: its mounts live until he lets go (engine/files/views.py)."""
    return Lock(f"{container.folder}/mounted", shared, what=f"container {container.name}")


def unmounted(container: Container) -> None:
    """Waits until nobody sees the root of an earlier run any more: two overlays on one upper folder are undefined (overlayfs.rst)."""
    mounted(container, shared=False).acquire().release()


def again(store: Store, container: Container) -> Container:
    """The container as it is now, by whoever has its lock. Raises NotFound when it was removed meanwhile."""
    if os.path.exists(f"{container.folder}/update.json"):
        from estiba.engine import updating

        updating.finish(store, container.folder)
    found = read(store, container.id)
    if found is None:
        raise NotFound(f"cannot find container {container.name!r}: it has just been removed")
    return found


def read(store: Store, container_id: str, standing: Mapping[str, str] | None = None) -> Container | None:
    """The container of a full id, None when there is none; `standing` as in `Container.refresh`. Raises DataLoss."""
    folder = f"{store.containers}/{container_id}"
    try:
        return Container(folder, store.runtime, documents.read_json(f"{folder}/state.json"), standing)
    except (FileNotFoundError, NotADirectoryError):
        return None


def find(store: Store, text: str) -> Container:
    """Returns the container of a name, an id or the beginning of an id.

    Raises NotFound, and Conflict for a beginning that several ids share.
    """
    text = text.removeprefix("/")  # as `inspect` shows names
    if "/" not in text and text not in ("", ".", ".."):
        holder = _id_of_name(store, text)
        exact = read(store, holder or text)
        if exact is not None and (not holder or exact.name == text):  # else a link that a killed `rename` left
            return exact
    lower = text.isascii() and text.isalnum() and text == text.lower()
    candidates = [name for name in os.listdir(store.containers) if lower and name.startswith(text) and len(name) == 64]
    if len(candidates) > 1:
        raise Conflict(f"cannot choose a container: {text!r} is the beginning of several ids", hint=_described(store, candidates))
    found = read(store, candidates[0]) if candidates else None
    if found is None:
        raise NotFound(f"cannot find container {text[:80]!r}: no such container")
    return found


def _described(store: Store, candidates: list[str]) -> str:
    shown = _oldest_first(store, candidates, [])[:_SHOWN]
    names = ", ".join(f"{container.id[:12]} ({container.name})" for container in shown)
    return "it may be " + names + (" ..." if len(candidates) > _SHOWN else "")


def _id_of_name(store: Store, name: str) -> str | None:
    try:
        return os.readlink(f"{store.names}/{name}")
    except OSError:
        return None
