"""Images for tests of the store: real manifests and configurations, on layers that need no content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiba.oci import media_types as mt
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, sha256_digest
from estiba.oci.manifest import Index, Manifest
from estiba.oci.platform import parse_platform
from estiba.oci.reference import parse_reference
from estiba.oci.strict_json import dumps
from estiba.store import images

if TYPE_CHECKING:
    from estiba.store.images import Image
    from estiba.store.layout import Store


def diff_id(name: str) -> DiffID:
    return DiffID(sha256_digest(name.encode()))


def documents(*layers: str, platform: str = "linux/amd64", cmd: str = "sh") -> tuple[bytes, bytes]:
    """The manifest and the configuration of an image of layers with these names."""
    parsed = parse_platform(platform)
    config = dumps({
        "architecture": parsed.architecture, "os": parsed.os, "variant": parsed.variant or None, "config": {"Cmd": [cmd]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id(name) for name in layers]},
    })  # fmt: skip
    descriptors = [Descriptor(mt.OCI_LAYER, sha256_digest(name.encode()), len(name)) for name in layers]
    return Manifest.build(Descriptor(mt.OCI_CONFIG, sha256_digest(config), len(config)), descriptors), config


def add_image(store: Store, name: str | None, *layers: str, platform: str = "linux/amd64", cmd: str = "sh") -> Image:
    """Adds an image of layers with these names; without `name` a dangling one."""
    manifest, config = documents(*layers, platform=platform, cmd=cmd)
    return images.add(store, manifest, mt.OCI_MANIFEST, config, parse_reference(name) if name else None)


def add_indexed(store: Store, name: str, platforms: list[str], held: list[str]) -> list[Image]:
    """Adds an image of several platforms of which only `held` ones are in the store."""
    made = {platform: documents(f"layer-{platform}", platform=platform) for platform in platforms}
    entries = [
        Descriptor(mt.OCI_MANIFEST, sha256_digest(manifest), len(manifest), platform=parse_platform(platform))
        for platform, (manifest, _) in made.items()
    ]
    index = Index.build(entries)
    reference = parse_reference(name)
    return [images.add(store, *_split(made[p]), reference, index=index, index_media_type=mt.OCI_INDEX) for p in held]


def _split(pair: tuple[bytes, bytes]) -> tuple[bytes, str, bytes]:
    return pair[0], mt.OCI_MANIFEST, pair[1]
