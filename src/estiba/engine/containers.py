"""The containers of a store: what `state.json` and `status` say, `list_containers`, `find`, `remove`.

state.json members: ``id name created`` (nanoseconds) ``reference image`` (the configuration's digest) ``layers command remove volumes``
(mounts for --volumes-from) ``labels stop_signal``. It is written once, before the container runs; what happens afterwards is in
``status`` (helper/PROTOCOL.md).
"""

from __future__ import annotations

import os

from estiba.engine import records
from estiba.errors import Conflict, NotFound
from estiba.oci.strict_json import as_dict, get_bool, get_dict, get_int, get_list, get_str, get_str_map, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings
    from estiba.store.layout import Store

_STATE_LIMIT = 4 * 1024 * 1024


class Container:
    """One container. `status` is created, running or exited; `exit_code` is None until it exited."""

    __slots__ = (
        "created", "exit_code", "folder", "id", "interactive", "labels", "log", "name", "pid", "reference", "remove", "status", "volumes",
    )  # fmt: skip

    def __init__(self, folder: str, state: dict[str, object]) -> None:
        what = f"{folder}/state.json"
        self.folder = folder
        self.id = get_str(state, "id", what)
        self.name = get_str(state, "name", what)
        self.created = get_int(state, "created", what)
        self.reference = get_str(state, "reference", what)
        self.remove = get_bool(state, "remove", what)
        self.volumes = [as_dict(entry, what) for entry in get_list(state, "volumes", what, [])]
        self.interactive = get_bool(state, "interactive", what, False)
        self.labels = get_str_map(state, "labels", what)
        self.log = get_dict(state, "log", what, {})
        self.pid = 0
        self.exit_code: int | None = None
        self.status = "created"
        self._read_status()

    def spec(self) -> dict[str, object]:
        """The container's OCI runtime spec, from its config.json."""
        return _read_json(f"{self.folder}/config.json")

    def _read_status(self) -> None:
        try:
            with open(f"{self.folder}/status", encoding="utf-8") as file:
                lines = [line.split() for line in file]
        except FileNotFoundError:
            return
        for words in lines:
            if words[:1] == ["running"]:
                self.status, self.pid = "running", int(words[1])
            elif words[:1] == ["exited"]:
                self.status, self.exit_code, self.pid = "exited", int(words[1]), 0
        if self.status == "running" and records.is_dead(records.Record(self.id, self.folder)):
            # Keeper and monitor were killed, or the machine was: nobody could write the code (as Docker after a reboot).
            self.status, self.exit_code, self.pid = "exited", 255, 0


def list_containers(store: Store) -> list[Container]:
    """Returns the containers of the store, oldest first. A folder without state.json is one that is just being made."""
    return sorted(_all(store), key=lambda container: container.created)


def _all(store: Store) -> Iterator[Container]:
    for name in os.listdir(store.containers):
        container = _read(store, name)
        if container is not None:
            yield container


def _read(store: Store, container_id: str) -> Container | None:
    folder = f"{store.containers}/{container_id}"
    try:
        return Container(folder, _read_json(f"{folder}/state.json"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_json(path: str) -> dict[str, object]:
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


def remove(store: Store, settings: Settings, text: str) -> str:
    """Removes a container that is not running, and returns its id.

    Raises NotFound, and Conflict while it runs.
    """
    from estiba.store import layers

    container = find(store, text)
    if container.status == "running":
        raise Conflict(f"cannot remove container {container.id[:12]}: it is running", hint="stop it first")
    os.rename(container.folder, f"{store.trash}/{container.id}")
    records.unlink_if(f"{store.names}/{container.name}", container.id)
    layers.empty_trash(store, settings)
    return container.id
