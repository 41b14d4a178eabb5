"""What a container has changed, as the tar of a layer (image-spec, layer.md, "Whiteouts")."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from estiba.engine.files.archive import archive
from estiba.engine.files.entries import Source, nothing
from estiba.engine.files.jail import UPPER, FileJail
from estiba.engine.files.upper import DELETED, Change
from estiba.engine.files.walk import Walk
from estiba.errors import InvalidArgument, NotImplemented
from estiba.store.layers import tar
from estiba.store.layers.pax import show
from estiba.store.layers.tar import Entry
from estiba.store.layers.tree import OPAQUE_NAME, WHITEOUT_PREFIX


def layer(jail: FileJail, changes: Sequence[Change]) -> Iterator[bytes]:
    """The layer's tar, in pieces. Raises InvalidArgument for names that a layer cannot hold."""
    for change in changes:
        if change.path.rpartition(b"/")[2].startswith(WHITEOUT_PREFIX):
            raise InvalidArgument(
                f"cannot {jail.what}: {show(change.path)}: names that begin with .wh. stand for deleted files in a layer",
                hint="rename or remove the file",
            )
    return archive(_source(jail, changes))


def _source(jail: FileJail, changes: Sequence[Change]) -> Source:
    def refuse(text: str) -> None:
        raise NotImplemented(f"cannot {jail.what}: {text}")

    walk = Walk(jail, UPPER, refuse)
    waiting: list[Change] = []
    for change in changes:
        if change.kind != DELETED and not change.opaque:
            if not stat.S_ISSOCK(change.status.mode):  # its program is not in the image
                waiting.append(change)
            continue
        yield from walk.items(waiting)
        waiting.clear()
        if change.opaque:
            yield from walk.items([change])
            yield _mark(change.path + b"/" + OPAQUE_NAME), nothing
        else:
            folder, slash, name = change.path.rpartition(b"/")
            yield _mark(folder + slash + WHITEOUT_PREFIX + name), nothing
    yield from walk.items(waiting)


def _mark(path: bytes) -> Entry:
    return Entry(path, tar.FILE, 0, 0, 0, 0, 0, b"", 0)
