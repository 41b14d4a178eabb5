"""Garbage collection: what no reference and no container leads to goes.

Mark and sweep under the exclusive content lock (see the package's docstring), so that nobody is between storing a layer and
naming it. Whether a process still works on an entry of ``ingest/`` is told by its lock, never by time.
"""

from __future__ import annotations

import os
import stat

from estiba.errors import Conflict
from estiba.linux.locks import try_flock
from estiba.oci.digest import DiffID, hex_of
from estiba.store import layers, references
from estiba.store.blobs import all_blobs, blob_size, delete_blob
from estiba.store.publish import failure
from estiba.store.roots import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.oci.digest import Digest
    from estiba.store.layout import Store
    from estiba.store.roots import Marked


class Freed:
    """What a collection removed: `blobs`, `layers`, and `size` in bytes on disk, without files that other layers still hold."""

    __slots__ = ("blobs", "layers", "size")

    def __init__(self) -> None:
        self.blobs: list[Digest] = []
        self.layers: list[DiffID] = []
        self.size = 0


def collect(store: Store, *, wait: bool = True) -> Freed:
    """Removes all content that is not in use, and what crashes left behind.

    Without `wait` nothing is done while another process uses the store's content; its garbage stays for the next time.
    Raises DataLoss when something that might be in use cannot be read: then nothing is removed.
    """
    freed = Freed()
    try:
        with store.collecting(None if wait else 0):
            _sweep_content(store, mark(store), freed)
            _sweep_ingest(store)
            layers.empty_trash(store)
            freed.size += layers.sweep_files(store)
        if not references.is_index_right(store):
            references.write_index(store)
    except Conflict:
        if wait:
            raise
    return freed


def sweep(store: Store) -> None:
    """Removes what crashes left in ``ingest/`` and ``trash/``, unless another process is at work in the store."""
    try:
        with store.collecting(0):
            _sweep_ingest(store)
            layers.empty_trash(store)
    except Conflict:
        return  # whoever is at work holds the lock; its end is a better time


def all_layers(store: Store) -> Iterator[DiffID]:
    """The DiffIDs of the layers in the store, by folder name."""
    from estiba.oci.digest import ALGORITHMS, is_hex

    lengths = {length: algorithm for algorithm, length in ALGORITHMS.items()}
    for name in sorted(os.listdir(store.layers)):
        if is_hex(name) and len(name) in lengths:
            yield DiffID(f"{lengths[len(name)]}:{name}")


def _sweep_content(store: Store, used: Marked, freed: Freed) -> None:
    for diff_id in all_layers(store):
        if diff_id not in used.layers and not _is_held(f"{store.layers}/{hex_of(diff_id)}"):
            layers.remove_layer(store, diff_id)
            freed.layers.append(diff_id)
            _remove_lock(store, diff_id)
    for digest in list(all_blobs(store)):
        if digest not in used.blobs:
            freed.size += blob_size(store, digest) or 0
            if delete_blob(store, digest):
                freed.blobs.append(digest)


def _remove_lock(store: Store, diff_id: DiffID) -> None:
    """The lock file of a layer that went; one who waits for it starts over (`Lock.remove`)."""
    with store.lock("layer", hex_of(diff_id)) as lock:
        lock.remove()


def _sweep_ingest(store: Store) -> None:
    for name in os.listdir(store.ingest):
        path = f"{store.ingest}/{name}"
        try:
            if _is_dead(path):
                _discard(store, path, name)
        except FileNotFoundError:
            continue  # its process has just published or removed it
        except OSError as error:
            raise failure(error, f"sweep {path}") from None


def _is_held(path: str) -> bool:
    """Whether a program sees the layer that no container stands on (`exec --with`)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return not try_flock(descriptor)
    finally:
        os.close(descriptor)


def _is_dead(path: str) -> bool:
    """Whether no process holds the entry's lock; what cannot hold one (a link, a socket) is nobody's."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return True
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return try_flock(descriptor)
    finally:
        os.close(descriptor)


def _discard(store: Store, path: str, name: str) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rename(path, f"{store.trash}/{name}-{os.urandom(8).hex()}")
    else:
        os.unlink(path)
