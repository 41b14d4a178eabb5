"""What the first command after a boot takes back: the records of what was going on (engine/records.py) went with the machine.

A container whose making was cut off, one of --rm that ran when the power went, and names that lead nowhere; an `update` is finished.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from estiba.engine import containers, event_log, names, records, updating
from estiba.engine.status import is_held
from estiba.errors import DataLoss
from estiba.store.layers import empty_trash

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store


def after_boot(store: Store, settings: Settings, seen: str) -> None:
    """Moves to the trash, which it empties, what no command of this boot makes or runs, and makes the file `seen`, by which the next
    command knows. Two at once do no harm.
    """
    for container_id in os.listdir(store.containers):
        if len(container_id) == 64 and _is_left(store, settings, container_id):
            _take_away(store, container_id)
        elif os.path.exists(f"{store.containers}/{container_id}/update.json"):
            updating.finish_alone(store, f"{store.containers}/{container_id}")
    for name in os.listdir(store.names):
        path = f"{store.names}/{name}"
        holder = os.readlink(path) if os.path.islink(path) else ""
        names.release(path, holder, lambda holder: not _is_there(store, settings, holder))
    empty_trash(store, settings)
    os.makedirs(os.path.dirname(seen), mode=0o700, exist_ok=True)
    with open(seen, "wb") as file:
        file.write(os.fsencode(store.containers))
    _forget_stores(os.path.dirname(seen))


def _forget_stores(folder: str) -> None:
    """Removes what is kept of stores that are not there any more: such a file, and their events. One that comes back begins anew."""
    for key in os.listdir(folder):
        if "." not in key and _is_gone(f"{folder}/{key}", key):
            for name in (f"{key}.events.1", f"{key}.events", key):
                records.unlink(f"{folder}/{name}")


def _is_gone(seen: str, key: str) -> bool:
    try:
        with open(seen, "rb") as file:
            path = os.fsdecode(file.read())
        return path != "" and event_log.store_key(path) != key  # empty: of somebody who is just making it
    except FileNotFoundError:
        return os.path.exists(seen)  # whose folder is not there, unless another command was faster


def _is_there(store: Store, settings: Settings, container_id: str) -> bool:
    """Tells whether the container exists or is being made: its record comes before everything else, and goes last."""
    return records.read(settings, container_id) is not None or os.path.exists(f"{store.containers}/{container_id}/state.json")


def _is_left(store: Store, settings: Settings, container_id: str) -> bool:
    folder = f"{store.containers}/{container_id}"
    if is_held(f"{folder}/status"):
        return False
    if not _is_there(store, settings, container_id):
        return True
    if records.read(settings, container_id) is not None:
        return False
    try:
        container = containers.read(store, container_id)
    except DataLoss:
        return False  # `system check` tells of it
    if container is None or container.status != "exited":
        return False
    return container.remove or names.goes(folder) != ""  # of --rm, also one that was being restarted, or of an rm -f


def _take_away(store: Store, container_id: str) -> None:
    folder = f"{store.containers}/{container_id}"
    name = names.goes(folder)
    if name:
        names.release(f"{store.names}/{name}", container_id)
    try:
        os.rename(folder, f"{store.trash}/{container_id}")
    except FileNotFoundError:
        return
