"""Makes images of new layers and a new configuration: what `import`, `image from-host`, `image stack` and `hello` share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from estiba.config.settings import Settings
from estiba.engine.progress import Progress
from estiba.errors import InvalidArgument
from estiba.oci import media_types, strict_json
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import Digest, sha256_digest
from estiba.oci.manifest import Manifest
from estiba.oci.platform import Platform
from estiba.oci.reference import Reference, parse_reference
from estiba.store.images import Image, add
from estiba.store.layers import import_layer
from estiba.store.layout import Store

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # the one Docker gives an image without


def new_name(store: Store, text: str, verb: str) -> Reference:
    """The name of a new image, completed as everywhere. Raises InvalidArgument, also for a name with a digest."""
    reference = parse_reference(text, store.default_registry)
    if reference.digest is not None:
        raise InvalidArgument(f"cannot {verb} {text!r}: a name with a digest cannot be given to an image")
    return reference


def add_layer(store: Store, settings: Settings, chunks: Iterable[bytes], progress: Progress | None = None) -> Descriptor:
    """Stores a layer of which only the plain tar is known. The caller holds `Store.using`.

    Raises DataLoss, ResourceExhausted, NotImplemented, PermissionDenied, FailedPrecondition.
    """
    info = import_layer(store, settings, chunks, progress=progress)
    return Descriptor(media_types.OCI_LAYER, Digest(info.diff_id), info.tar_size)


def new_config(platform: Platform, created: str, layers: Sequence[Descriptor], process: dict[str, Any]) -> dict[str, Any]:
    """An image configuration (image-spec, config.md) without a history; `created` is RFC 3339."""
    document: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    document["created"] = created
    document["config"] = process
    document["rootfs"] = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    return document


def add_image(store: Store, config: bytes, layers: Sequence[Descriptor], reference: Reference | None) -> Image:
    """Stores an OCI manifest for `config` and `layers`, whose content is there, under `reference` or no name."""
    descriptor = Descriptor(media_types.OCI_CONFIG, sha256_digest(config), len(config))
    return add(store, Manifest.build(descriptor, layers), media_types.OCI_MANIFEST, config, reference)


def encode(document: dict[str, Any]) -> bytes:
    """The bytes of a new configuration; equal documents give equal bytes."""
    return strict_json.dumps(document)
