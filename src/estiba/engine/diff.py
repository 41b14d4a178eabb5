"""`diff`: what a container has added (A), changed (C) and deleted (D)."""

from __future__ import annotations

import os

from estiba.config.settings import Settings
from estiba.engine import containers
from estiba.engine.files.upper import Changes
from estiba.engine.files.views import open_changes
from estiba.store.layout import Store


def diff(store: Store, settings: Settings, name: str) -> list[tuple[str, str]]:
    """(kind, path) of each change, by path.

    Raises NotFound, Conflict, NotImplemented for a container in a machine, ResourceExhausted, FailedPrecondition.
    """
    container = containers.find(store, name)
    with open_changes(store, settings, container, what=f"read the changes of container {container.name}") as jail:
        changes = Changes(jail, hidden=True).all()
        jail.finish()
    return [(change.kind, "/" + os.fsdecode(change.path)) for change in changes]
