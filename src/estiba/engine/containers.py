"""The containers of a store: what `state.json` and `status` say, `list_containers`, `find`, `remove`.

state.json members: ``id name created`` (nanoseconds) ``reference image`` (the configuration's digest) ``layers command remove volumes``
(mounts for --volumes-from) ``labels stop_signal``. It is written once, before the container runs; what happens afterwards is in
``status`` (helper/PROTOCOL.md).
"""

from __future__ import annotations

import os

from estiba.engine import records
from estiba.errors import Conflict, NotFound
from estiba.linux.locks import Lock
from estiba.oci.strict_json import as_dict, get_bool, get_dict, get_int, get_list, get_str, get_str_list, get_str_map, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

_STATE_LIMIT = 4 * 1024 * 1024


class Container:
    """One container, as its folder says it is at this moment.

    `status` is created, running or exited. `exit_code` is None until it exited; `started` and `finished` are nanoseconds since 1970,
    0 for never; `pid` is 0 unless it runs, and `pid_started` its start time, which makes it a name for good; `oom` tells that the
    kernel killed a process of it for want of memory.
    """

    __slots__ = (
        "command", "created", "entrypoint", "exit_code", "finished", "folder", "id", "image", "interactive", "kernel", "labels",
        "layers", "log", "name", "oom", "options", "pid", "pid_started", "platform", "reference", "remove", "started", "status",
        "stop_timeout", "volumes",
    )  # fmt: skip

    def __init__(self, folder: str, state: dict[str, object]) -> None:
        what = f"{folder}/state.json"
        self.folder = folder
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
        timeout = state.get("stop_timeout")
        self.stop_timeout = timeout if type(timeout) is int else None
        self.pid, self.pid_started = 0, ""
        self.started = self.finished = 0
        self.exit_code: int | None = None
        self.oom = False
        self.status = "created"
        self.refresh()

    def spec(self) -> dict[str, Any]:
        """The container's OCI runtime spec, from its config.json."""
        return read_json(f"{self.folder}/config.json")

    def refresh(self) -> None:
        """Reads the status file again (helper/PROTOCOL.md). One that is gone says nothing new."""
        try:
            with open(f"{self.folder}/status", encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file]
        except (FileNotFoundError, NotADirectoryError):
            return
        for words in lines:
            if words[:1] == ["running"] and len(words) >= 4:
                self.status, self.pid, self.pid_started, self.started = "running", int(words[1]), words[2], int(words[3])
            elif words[:1] == ["exited"] and len(words) >= 5:
                self.status, self.exit_code, self.pid = "exited", int(words[1]), 0
                self.finished, self.oom = int(words[3]), words[4] == "1"
        if self.status == "running" and records.is_dead(records.Record(self.id, self.folder)):
            # Keeper and monitor were killed, or the machine was: nobody could write the code (as Docker after a reboot).
            self.status, self.exit_code, self.pid = "exited", 255, 0

    def pidfd(self) -> int | None:
        """A descriptor of the program that runs, None when it does not (any more).

        The number may belong to another process by now: the start time, looked at while the descriptor holds the process, tells.
        """
        if not self.pid:
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if records.start_time(self.pid) != self.pid_started:
            os.close(descriptor)
            return None
        return descriptor


def list_containers(store: Store) -> list[Container]:
    """Returns the containers of the store, oldest first. A folder without state.json is one that is just being made."""
    return sorted(_all(store), key=lambda container: container.created)


def list_running(store: Store, settings: Settings) -> list[Container]:
    """The containers that run, oldest first. Only those that hold something on this machine are looked at, however many there are."""
    try:
        names = os.listdir(records.live_folder(settings))
    except FileNotFoundError:
        return []
    found = [container for name in names if (container := _read(store, name)) is not None and container.status == "running"]
    return sorted(found, key=lambda container: container.created)


def lock(container: Container) -> Lock:
    """The lock of verbs that change a container; whoever has it looks at the container again."""
    return Lock(f"{container.folder}/lock", what=f"container {container.name}", kind="container")


def mounted(container: Container, *, shared: bool) -> Lock:
    """Held, shared, by who sees the root of a running container: its mounts live until he lets go (engine/files/views.py)."""
    return Lock(f"{container.folder}/mounted", shared, what=f"container {container.name}")


def unmounted(container: Container) -> None:
    """Waits until nobody sees the root of an earlier run any more: two overlays on one upper folder are undefined (overlayfs.rst)."""
    mounted(container, shared=False).acquire().release()


def again(store: Store, container: Container) -> Container:
    """The container as it is now. Raises NotFound when it was removed meanwhile."""
    found = _read(store, container.id)
    if found is None:
        raise NotFound(f"cannot find container {container.name!r}: it has just been removed")
    return found


def _all(store: Store) -> Iterator[Container]:
    for name in os.listdir(store.containers):
        container = _read(store, name)
        if container is not None:
            yield container


def _read(store: Store, container_id: str) -> Container | None:
    folder = f"{store.containers}/{container_id}"
    try:
        return Container(folder, read_json(f"{folder}/state.json"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON object of a container's folder. Raises FileNotFoundError, DataLoss."""
    with open(path, "rb") as file:
        data = file.read(_STATE_LIMIT + 1)
    return as_dict(loads(data, what=path, limit=_STATE_LIMIT, raw_bytes=True), path)


def find(store: Store, text: str) -> Container:
    """Returns the container of a name, an id or the beginning of an id.

    Raises NotFound, and Conflict for a beginning that several ids share.
    """
    exact = _read(store, _id_of_name(store, text) or text) if "/" not in text and text not in ("", ".", "..") else None
    if exact is not None:
        return exact
    lower = text.isascii() and text.isalnum() and text == text.lower()
    candidates = [name for name in os.listdir(store.containers) if lower and name.startswith(text) and len(name) == 64]
    if len(candidates) > 1:
        shown = ", ".join(name[:12] for name in sorted(candidates)[:8])
        raise Conflict(f"cannot choose a container: {text!r} is the beginning of several ids: {shown}")
    found = _read(store, candidates[0]) if candidates else None
    if found is None:
        raise NotFound(f"cannot find container {text[:80]!r}: no such container")
    return found


def _id_of_name(store: Store, name: str) -> str | None:
    try:
        return os.readlink(f"{store.names}/{name}")
    except (FileNotFoundError, OSError):
        return None
