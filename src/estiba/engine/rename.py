"""`rename`: a container gets another name."""

from __future__ import annotations

import os

from estiba.config.settings import Settings
from estiba.engine import containers, documents, event_log, names
from estiba.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from estiba.oci.strict_json import dumps
from estiba.runtime.parse_options import is_name
from estiba.store.layout import Store
from estiba.store.publish import write_file


def rename(store: Store, settings: Settings, name: str, new: str) -> None:
    """Gives a container, also one that runs, another name.

    Raises NotFound, Conflict (an ambiguous id), InvalidArgument for a name that is none, AlreadyExists for one in use.
    """
    if not is_name(new):
        raise InvalidArgument(
            f"cannot rename {name!r}: {new[:140]!r} is not a name for a container",
            hint="[a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 128 characters",
        )
    container = containers.find(store, name)
    with containers.lock(container):
        container = containers.again(store, container)
        if new == container.name:
            raise InvalidArgument(f"cannot rename container {new}: it has that name")
        holder = names.take(store, settings, container.id, new)
        if holder is not None:
            raise AlreadyExists(
                f"cannot rename container {container.name}: the name {new} is in use by container {holder[:12]}",
                hint="choose another name, or remove or rename that container",
            )
        try:
            if names.goes(container.folder):
                names.will_go(container.folder, new)
            state = documents.read_json(f"{container.folder}/state.json")
            write_file(store, f"{container.folder}/state.json", dumps({**state, "name": new}), mode=0o600)
        except (FileNotFoundError, FailedPrecondition):
            if os.path.exists(container.folder):
                raise
        names.release(f"{store.names}/{container.name}", container.id)
        if not os.path.exists(container.folder):  # of --rm, and it ended meanwhile, under either name
            names.release(f"{store.names}/{new}", container.id)
            raise NotFound(f"cannot rename container {container.name}: it has just ended and was removed")
        old, container.name = container.name, new
        event_log.container(container, "rename", oldName=f"/{old}")
