"""`inspect`: everything about an image, in the shape of Docker's `image inspect` (Engine API, ImageInspect)."""

from __future__ import annotations

from typing import Any

from estiba.oci import strict_json
from estiba.oci.platform import parse_platform
from estiba.oci.reference import Reference
from estiba.store import references
from estiba.store.images import Image, find, names_of
from estiba.store.layers import layer_path_name
from estiba.store.layout import Store
from estiba.store.usage import image_size

# The members of Config that are always there; scripts index them.
_ALWAYS: dict[str, Any] = {
    "User": "",
    "Env": None,
    "Cmd": None,
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}


def inspect(store: Store, name: str, *, platform: str | None = None) -> dict[str, object]:
    """Docker's JSON object of an image. Raises NotFound, Conflict for an ambiguous id, InvalidArgument, DataLoss."""
    image = find(store, name, parse_platform(platform) if platform else None)
    config = image.config
    document = strict_json.as_dict(strict_json.loads(config.raw, what="the image configuration"), "the image configuration")
    names = [reference for reference in names_of(store, image.id) if not reference.is_dangling]
    size = image_size(store, image)
    return {
        "Id": image.id,
        "RepoTags": [reference.familiar for reference in names if reference.tag],
        "RepoDigests": sorted({text for reference in names if (text := _repo_digest(store, reference))}),
        "Parent": "",
        "Comment": _comment(image),
        "Created": config.created or "",
        "Author": config.author,
        "Config": _process(document),
        "Architecture": config.architecture,
        **({"Variant": config.variant} if config.variant else {}),
        "Os": config.os,
        "Size": size,
        "VirtualSize": size,
        "GraphDriver": {"Name": "overlayfs", "Data": {"LowerDir": _folders(store, image)}},
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Descriptor": {"mediaType": image.target.media_type, "digest": image.target.digest, "size": image.target.size},
    }


def _repo_digest(store: Store, name: Reference) -> str:
    """The name with the digest of what it stands for: an index, or the image's manifest."""
    target = references.get(store, name)
    return f"{name.familiar_name}@{target.digest}" if target else ""


def _process(document: dict[str, object]) -> dict[str, object]:
    section = document.get("config")
    return {**_ALWAYS, **section} if isinstance(section, dict) else dict(_ALWAYS)


def _comment(image: Image) -> str:
    comment = image.config.history[-1].get("comment") if image.config.history else ""
    return comment if isinstance(comment, str) else ""


def _folders(store: Store, image: Image) -> str:
    """The unpacked layers as an overlay's lowerdir has them: the topmost first."""
    return ":".join(f"{store.layers}/{layer_path_name(diff_id)}" for diff_id in reversed(image.layers))
