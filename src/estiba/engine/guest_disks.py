"""The files that a guest starts from: a read-only image of each layer, and the disk of its own changes.

On the start path of `run` on another kernel: what is there is found here, what is missing is made by `make_disks`.
"""

from __future__ import annotations

import os

from estiba.oci.digest import hex_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.oci.digest import DiffID
    from estiba.store.layout import Store


def layer_image(store: Store, settings: Settings, diff_id: DiffID) -> str:
    """Returns the path of a layer's image, which is made when it is not there. Raises FailedPrecondition, ResourceExhausted."""
    path = f"{store.layers}/{hex_of(diff_id)}/erofs"
    if not os.path.exists(path):
        from estiba.engine.make_disks import make_layer_image

        make_layer_image(store, settings, diff_id, path)
    return path


def make_top(store: Store, path: str) -> None:
    """Makes the disk of a container's own changes at `path`: an empty file system, copied. Raises FailedPrecondition, ResourceExhausted."""
    template = f"{store.cache}/top-1"
    if not os.path.exists(template):
        from estiba.engine.make_disks import make_top_template

        make_top_template(store, template)
    source, target = (
        os.open(template, os.O_RDONLY | os.O_CLOEXEC),
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600),
    )
    try:
        copy_sparse(source, target)
    except OSError as error:
        from estiba.store.publish import failure

        raise failure(error, f"write {path}") from error
    finally:
        os.close(source)
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
