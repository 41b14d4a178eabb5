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
serve `apply`; `rebuild` reads back; `remove` takes away; `info` is layer.json. Who reads untrusted bytes is Python (memory-safe),
who touches the disk is the helper in its jail (helper/src/unpack*.c).
"""

from __future__ import annotations

from estiba.store.layers.apply import apply_layer, import_layer
from estiba.store.layers.info import LayerBlob, LayerInfo, add_blob, layer_info, layer_path_name
from estiba.store.layers.rebuild import open_tar, tree_entries, verify_layer
from estiba.store.layers.remove import empty_trash, has_layer, remove_layer, sweep_files
from estiba.store.layers.workers import Workers

__all__ = [
    "LayerBlob",
    "LayerInfo",
    "Workers",
    "add_blob",
    "apply_layer",
    "empty_trash",
    "has_layer",
    "import_layer",
    "layer_info",
    "layer_path_name",
    "open_tar",
    "remove_layer",
    "sweep_files",
    "tree_entries",
    "verify_layer",
]
