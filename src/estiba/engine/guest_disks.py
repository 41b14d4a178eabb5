"""The files that a guest starts from: a read-only image of each layer, and the disk of its own changes.

On the start path of `run` on another kernel: what is there is found here, what is missing is made by `make_disks`.
"""

from __future__ import annotations

import os

from estiba.oci.digest import hex_of

#: Layers in a pack.
PACKED = 16

# In the folder of a layer.
_IMAGE, _PACK = "erofs", "pack-"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings
    from estiba.oci.digest import DiffID
    from estiba.store.layout import Store


def layer_image(store: Store, settings: Settings, diff_id: DiffID) -> str:
    """Returns the path of a layer's image, which is made when it is not there. Raises FailedPrecondition, ResourceExhausted."""
    path = f"{store.layers}/{hex_of(diff_id)}/{_IMAGE}"
    if not os.path.exists(path):
        from estiba.engine.make_disks import make_layer_image

        make_layer_image(store, settings, diff_id, path)
    return path


def is_layer_disk(name: str) -> bool:
    """Tells whether a file in the folder of a layer is a disk of guests."""
    return name == _IMAGE or name.startswith(_PACK)


def top_path(folder: str) -> str:
    """Where the disk of the changes of the container in `folder` is."""
    return f"{folder}/top"


class LayerDisk:
    """A disk that holds layers: its `path`, and for each layer where it begins (bytes), lowest first."""

    __slots__ = ("offsets", "path")

    def __init__(self, path: str, offsets: Sequence[int] = (0,)) -> None:
        self.path = path
        self.offsets = tuple(offsets)


def layer_disks(store: Store, settings: Settings, layers: Sequence[DiffID], most: int) -> list[LayerDisk]:
    """Returns `most` disks at most that hold the images of `layers`, lowest first. Raises FailedPrecondition, ResourceExhausted.

    A machine has few disks. Where there are more layers the lowest ones are packed, `PACKED` to a disk: images that grow from one base
    share these packs. What is left over is a disk each. Of very many layers twice as many come into each pack, or four times.
    """
    paths = [layer_image(store, settings, diff_id) for diff_id in layers]
    disks: list[LayerDisk] = []
    at, packed = 0, PACKED
    while packed * most < len(paths):
        packed *= 2
    while len(disks) + len(paths) - at > most:
        group = slice(at, at + packed)
        disks.append(_pack(store, layers[group], paths[group]))
        at += packed
    return disks + [LayerDisk(path) for path in paths[at:]]


def _pack(store: Store, layers: Sequence[DiffID], paths: Sequence[str]) -> LayerDisk:
    from estiba.oci.digest import sha256_digest

    key = hex_of(sha256_digest("\n".join(layers).encode("ascii")))[:32]
    path = f"{store.layers}/{hex_of(layers[-1])}/{_PACK}{key}"  # it goes with the topmost layer that it holds
    if not os.path.exists(path):
        from estiba.engine.make_disks import make_pack

        make_pack(store, paths, path)
    offsets = [0]
    for each in paths[:-1]:
        offsets.append(offsets[-1] + os.stat(each).st_size)
    return LayerDisk(path, offsets)


def make_top(store: Store, path: str, *, durable: bool) -> None:
    """Makes the disk of a container's own changes at `path`: an empty file system, copied; a `durable` one survives power cuts.

    Raises FailedPrecondition, ResourceExhausted.
    """
    template = f"{store.cache}/top-journal" if durable else f"{store.cache}/top"
    if not os.path.exists(template):
        from estiba.engine.make_disks import make_top_template

        make_top_template(store, template, durable=durable)
    source = os.open(template, os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy_top(source, path)
    finally:
        os.close(source)


def copy_top(source: int, path: str) -> None:
    """Makes the disk of a container's own changes at `path`, as the open file `source` is. Raises ResourceExhausted."""
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy_sparse(source, target)
    except OSError as error:
        from estiba.store.publish import failure

        raise failure(error, f"write {path}") from error
    finally:
        os.close(target)


def copy_sparse(source: int, target: int) -> None:
    """Copies what a sparse file holds, and its size (lseek(2), SEEK_DATA)."""
    size = os.fstat(source).st_size
    os.truncate(target, size)
    end = 0
    while end < size:
        try:
            begin = os.lseek(source, end, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: nothing but a hole up to the end
        end = os.lseek(source, begin, os.SEEK_HOLE)
        while begin < end:
            begin += os.copy_file_range(source, target, end - begin, begin, begin)
