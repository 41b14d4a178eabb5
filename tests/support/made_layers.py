"""Small real layers for tests of the store."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from estiba.oci import media_types as mt
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, sha256_digest
from estiba.oci.manifest import Manifest
from estiba.oci.platform import host_platform
from estiba.oci.reference import parse_reference
from estiba.oci.strict_json import dumps
from estiba.store import images
from estiba.store.layers import apply_layer

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.images import Image
    from estiba.store.layout import Store


def layer_tar(files: dict[str, bytes]) -> bytes:
    """A tar with these files, the same every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def add_layer(store: Store, settings: Settings, files: dict[str, bytes]) -> DiffID:
    """Unpacks a layer of these files; the caller holds the content lock."""
    data = layer_tar(files)
    diff_id = DiffID(sha256_digest(data))
    apply_layer(store, settings, diff_id, mt.OCI_LAYER, iter([data]))
    return diff_id


def real_image(store: Store, settings: Settings, name: str | None, *layers: dict[str, bytes], cmd: str = "sh") -> Image:
    """An image of real layers, added as a pull adds it: under the content lock from the first layer on."""
    platform = host_platform()
    with store.using():
        diff_ids = [add_layer(store, settings, files) for files in layers]
        config = dumps({
            "architecture": platform.architecture, "os": platform.os, "variant": platform.variant, "config": {"Cmd": [cmd]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })  # fmt: skip
        descriptors = [Descriptor(mt.OCI_LAYER, sha256_digest(layer_tar(files)), len(layer_tar(files))) for files in layers]
        manifest = Manifest.build(Descriptor(mt.OCI_CONFIG, sha256_digest(config), len(config)), descriptors)
        return images.add(store, manifest, mt.OCI_MANIFEST, config, parse_reference(name) if name else None)
