"""Layers: unpacked once each, their files shared, their tars rebuilt bit for bit.

    layers/<hex>/   one layer, by DiffID
      fs/           the tree as overlayfs wants a lower layer: whiteouts are character devices 0:0, opaque directories have
                    user.overlay.opaque=y (overlayfs.rst); owners, modes, times and attributes are those of the tar
      split         what rebuilds the exact tar together with fs/ (split.py)
      kept/<n>      content of the n-th member, when a later member of the same tar has its name
      layer.json    sizes, the blobs it came from, what could not be made (info.py)
    files/<2 hex>/<sha256 of path, metadata and content>
                    another name of a regular file of one or more layers; what is unpacked later links to it

The modules: `tar` `pax` `sparse` read archives; `tree` settles what entries mean; `inflate` `records` `jail` `owners` `split`
`workplace` serve `apply`; `worker` and `workers` do it in other processes; `rebuild` reads back; `remove` takes away; `info` is
layer.json. Who reads untrusted bytes is Python (memory-safe), who touches the disk is the helper in its jail (helper/src/unpack*.c).
The names below are this package's face, each loaded when it is first used (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.store.layers.apply import apply_layer as apply_layer
    from estiba.store.layers.apply import import_layer as import_layer
    from estiba.store.layers.info import LayerBlob as LayerBlob
    from estiba.store.layers.info import LayerInfo as LayerInfo
    from estiba.store.layers.info import add_blob as add_blob
    from estiba.store.layers.info import layer_info as layer_info
    from estiba.store.layers.info import layer_path_name as layer_path_name
    from estiba.store.layers.rebuild import open_tar as open_tar
    from estiba.store.layers.rebuild import tree_entries as tree_entries
    from estiba.store.layers.rebuild import verify_layer as verify_layer
    from estiba.store.layers.remove import empty_trash as empty_trash
    from estiba.store.layers.remove import has_layer as has_layer
    from estiba.store.layers.remove import remove_layer as remove_layer
    from estiba.store.layers.remove import sweep_files as sweep_files
    from estiba.store.layers.workers import Workers as Workers

_FACE = {
    "LayerBlob": "info",
    "LayerInfo": "info",
    "Workers": "workers",
    "add_blob": "info",
    "apply_layer": "apply",
    "empty_trash": "remove",
    "has_layer": "remove",
    "import_layer": "apply",
    "layer_info": "info",
    "layer_path_name": "info",
    "open_tar": "rebuild",
    "remove_layer": "remove",
    "sweep_files": "remove",
    "tree_entries": "rebuild",
    "verify_layer": "rebuild",
}

__all__ = [*_FACE]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> object:
    module = _FACE.get(name)
    if module is None:
        raise AttributeError(f"module 'estiba.store.layers' has no attribute {name!r}")
    import sys

    path = f"{__name__}.{module}"
    __import__(path)
    value: object = getattr(sys.modules[path], name)
    globals()[name] = value
    return value
