"""Containers of --rm that a killed `restart` has kept from going with the end of their run: they go as ever."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from estiba.engine import containers, names, records
from estiba.engine.rm import Removal
from estiba.errors import Conflict, NotFound
from estiba.linux.locks import Lock

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store


def let_go(store: Store, settings: Settings) -> None:
    """Lets every such container of this store go that nobody is restarting: with its end, or now where it has ended."""
    for link in records.staying(store.runtime):
        try:
            folder = os.readlink(link)
            if os.path.dirname(folder) == store.containers:
                _let_go(store, settings, os.path.basename(folder))
            elif os.path.exists(folder):
                continue  # another store's
        except Conflict:
            continue  # somebody restarts it, or changes it, at this moment
        except (FileNotFoundError, NotFound):
            pass
        records.unlink(link)


def _let_go(store: Store, settings: Settings, container_id: str) -> None:
    container = containers.read(store, container_id)
    if container is None:
        return
    with Lock(f"{container.folder}/stays", timeout=0), containers.lock(container, timeout=0):
        names.will_go(container.folder, containers.again(store, container).name)
        container.refresh()
    if not container.pid:
        Removal(store, settings, container_id).finish()
