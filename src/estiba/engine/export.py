"""`export`: a container's files as one tar."""

from __future__ import annotations

from typing import BinaryIO

from estiba.config.settings import Settings
from estiba.engine import containers, event_log
from estiba.engine.files.archive import archive
from estiba.engine.files.views import open_root
from estiba.engine.files.walk import changed, walk
from estiba.engine.progress import Progress, Silent
from estiba.store.layout import Store


def export(store: Store, settings: Settings, name: str, out: BinaryIO, *, progress: Progress | None = None) -> None:
    """Writes the tar of a container's root, without what is mounted in it, to `out`.

    Raises NotFound, Conflict, NotImplemented for a container in a machine, ResourceExhausted, FailedPrecondition, OSError of `out`.
    """
    told = progress or Silent()
    container = containers.find(store, name)
    with open_root(store, settings, container, what=f"export container {container.name}", volumes=False) as jail:
        source = walk(jail, b"", b".", lambda text: told.note(f"estiba: warning: not exported: {text}"))
        write = out.write  # the one thing that is asked of `out`
        for piece in archive(source):
            write(piece)
        for line in changed(jail):
            told.note(f"estiba: warning: {line}")
        jail.finish()
    event_log.container(container, "export")
