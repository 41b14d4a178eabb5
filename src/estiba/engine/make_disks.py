"""Makes what guests start from, once: images of layers, the empty file system of a container's changes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from estiba.config.settings import Settings
from estiba.engine import tools
from estiba.oci.digest import DiffID, hex_of
from estiba.store.layers.info import short
from estiba.store.layers.jail import Jail
from estiba.store.layout import Store
from estiba.store.publish import Ingest, failure

#: Bytes of the file system of a container's changes. The file is sparse: what nobody wrote takes no room.
TOP_SIZE = 64 << 30
_FEATURES = "64bit,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,metadata_csum,sparse_super2"


def make_layer_image(store: Store, settings: Settings, diff_id: DiffID, path: str) -> None:
    """Makes the EROFS image of a layer, in the jail of layers. Raises FailedPrecondition, ResourceExhausted."""
    folder, what = f"{store.layers}/{hex_of(diff_id)}", f"make a disk of layer {short(diff_id)}"
    with Ingest(store, path) as file:
        with Jail(settings, "image", folder, what=what, held=file.descriptor) as jail:
            jail.finish()
        file.publish(path)


def make_pack(store: Store, parts: Sequence[str], path: str) -> None:
    """Makes one file of several images, one behind the other. Raises ResourceExhausted, PermissionDenied."""
    with Ingest(store, path) as file:
        try:
            for part in parts:
                _append(file.descriptor, part)
        except OSError as error:
            raise failure(error, f"write {path}") from error
        file.publish(path)


def _append(target: int, path: str) -> None:
    with open(path, "rb") as source:
        left = os.fstat(source.fileno()).st_size
        while left:
            left -= os.copy_file_range(source.fileno(), target, left)


def make_top_template(store: Store, path: str, *, durable: bool) -> None:
    """Makes the empty file system that each container on a kernel of its own gets a copy of. Raises FailedPrecondition."""
    with Ingest(store, path) as file:
        os.truncate(file.descriptor, TOP_SIZE)
        make_top_at(file.path, 0, TOP_SIZE, durable=durable)
        file.publish(path)


def make_top_at(path: str, begin: int, size: int, *, durable: bool = True) -> None:
    """Makes the file system of a container's changes in the file at `path`, `size` bytes from `begin`. Raises FailedPrecondition."""
    # Every feature by name: what a newer mke2fs adds by itself Linux 6.1 might not mount. Without room to grow an empty one has 340 kB.
    features = f"none,{'has_journal,' if durable else ''}{_FEATURES}"
    options = ("-q", "-F", "-t", "ext4", "-O", features, "-E", f"lazy_itable_init=1,nodiscard,offset={begin}", "-m0")
    tools.run("make a disk for a machine", "mke2fs", "e2fsprogs", *options, path, f"{size >> 10}k")
