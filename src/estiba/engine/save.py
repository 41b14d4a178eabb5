"""`save`: images as one archive that is a complete OCI image layout and a docker-archive at once, as Docker 25 writes it.

Layers are written as their plain tars, rebuilt by the store bit for bit, so the archive's manifests are new ones: digest of a
layer and DiffID are the same there. The same images give the same bytes: names are sorted and every time is 1970.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from estiba.engine import event_log, tar_writer
from estiba.engine.load_oci import NAME_ANNOTATIONS
from estiba.errors import DataLoss, InvalidArgument
from estiba.oci import media_types, strict_json
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, Digest, hex_of, sha256_digest
from estiba.oci.manifest import Index, Manifest
from estiba.oci.platform import Platform, parse_platform
from estiba.oci.reference import Reference, parse_reference
from estiba.store.images import Image, find, list_images
from estiba.store.layers import layer_info, open_tar
from estiba.store.layout import Store

_BLOBS = "blobs/sha256"


@dataclass
class _Saved:
    """One image of the archive and the names it has there."""

    image: Image
    names: list[Reference] = field(default_factory=list)


def save(store: Store, names: Sequence[str], out: BinaryIO, *, platform: str | None = None) -> None:
    """Writes an archive of images.

    Parameters: `names`, references, ids, or repositories without a tag (all their tags); `out`, which must not be a terminal;
    `platform`, the image for it among those of a name. Raises InvalidArgument, NotFound, Conflict, DataLoss, OSError from `out`.
    """
    if not names:
        raise InvalidArgument("cannot save: no image is named")
    if _is_terminal(out):
        raise InvalidArgument("cannot save: standard output is a terminal", hint="-o FILE, or redirect it")
    with store.using():
        chosen = _choose(store, names, parse_platform(platform) if platform else None)
        write = out.write  # the one thing that is asked of `out`
        for chunk in _archive(store, chosen):
            write(chunk)
    for image_id in dict.fromkeys(str(saved.image.id) for saved in chosen):
        event_log.image(store, "save", image_id, image_id)


def _is_terminal(out: BinaryIO) -> bool:
    isatty = getattr(out, "isatty", None)
    return bool(isatty and isatty())


def _choose(store: Store, names: Sequence[str], platform: Platform | None) -> list[_Saved]:
    """The images, each once in the order of `names`, with the names they were asked for by."""
    chosen: dict[str, _Saved] = {}
    for name in names:
        for image, named in _images_of(store, name, platform):
            saved = chosen.setdefault(str(image.id), _Saved(image))
            if named and named not in saved.names:
                saved.names.append(named)
    return list(chosen.values())


def _images_of(store: Store, name: str, platform: Platform | None) -> Iterator[tuple[Image, Reference | None]]:
    reference = _parsed(store, name)
    if reference and reference.tag and not name.endswith(f":{reference.tag}") and not reference.digest:
        tags = sorted({image.reference.canonical for image in list_images(store) if image.reference.name == reference.name})
        for tag in tags:
            image = find(store, tag, platform)
            yield image, image.reference
        if tags:
            return
    image = find(store, name, platform)
    by_name = reference is not None and reference.tag is not None and image.reference == reference
    yield image, (reference if by_name else None)


def _parsed(store: Store, name: str) -> Reference | None:
    try:
        return parse_reference(name, store.default_registry)
    except InvalidArgument:  # an id, or nothing: `find` tells
        return None


def _archive(store: Store, chosen: Sequence[_Saved]) -> Iterator[bytes]:
    blobs: dict[Digest, bytes] = {}
    entries = [_manifest(store, saved, blobs) for saved in chosen]
    layers = {diff_id: layer_info(store, diff_id).tar_size for saved in chosen for diff_id in saved.image.layers}
    yield tar_writer.header("blobs/", tar_writer.DIRECTORY, mode=0o755)
    yield tar_writer.header(f"{_BLOBS}/", tar_writer.DIRECTORY, mode=0o755)
    for digest in sorted({*blobs, *(Digest(diff_id) for diff_id in layers)}):
        if digest in blobs:
            yield from tar_writer.member(_path(digest), blobs[digest])
        else:
            yield from _layer(store, DiffID(digest), layers[DiffID(digest)])
    yield from tar_writer.member("index.json", Index.build([each for pair in zip(chosen, entries, strict=True) for each in _named(*pair)]))
    yield from tar_writer.member("manifest.json", strict_json.dumps([_docker_entry(saved, layers) for saved in chosen]))
    yield from tar_writer.member("oci-layout", strict_json.dumps({"imageLayoutVersion": "1.0.0"}))
    repositories = _repositories(chosen)
    if repositories:
        yield from tar_writer.member("repositories", strict_json.dumps(repositories))
    yield tar_writer.END


def _path(digest: Digest | DiffID) -> str:
    return f"{_BLOBS}/{hex_of(digest)}"


def _manifest(store: Store, saved: _Saved, blobs: dict[Digest, bytes]) -> Descriptor:
    """Puts configuration and new manifest into `blobs`; gives the manifest's descriptor."""
    image = saved.image
    config = Descriptor(media_types.OCI_CONFIG, sha256_digest(image.config.raw), len(image.config.raw))
    if config.digest != Digest(image.id):
        raise DataLoss(f"cannot save image {image.id}: its configuration is damaged", hint="repair it with: estiba system check --repair")
    layers = [Descriptor(media_types.OCI_LAYER, Digest(diff_id), layer_info(store, diff_id).tar_size) for diff_id in image.layers]
    manifest = Manifest.build(config, layers)
    digest = sha256_digest(manifest)
    blobs[config.digest], blobs[digest] = image.config.raw, manifest
    return Descriptor(media_types.OCI_MANIFEST, digest, len(manifest), platform=image.config.platform)


def _named(saved: _Saved, manifest: Descriptor) -> list[Descriptor]:
    """index.json has an entry per name, or one without."""
    if not saved.names:
        return [manifest]
    return [
        Descriptor(
            manifest.media_type,
            manifest.digest,
            manifest.size,
            platform=manifest.platform,
            annotations=dict.fromkeys(NAME_ANNOTATIONS, name.canonical),
        )
        for name in saved.names
    ]


def _layer(store: Store, diff_id: DiffID, size: int) -> Iterator[bytes]:
    """A layer's member. The rebuilt tar is checked again: what leaves here is what its name says, or nothing."""
    yield tar_writer.header(_path(diff_id), tar_writer.REGULAR, mode=0o644, size=size)
    hasher, written = hashlib.sha256(), 0
    for chunk in open_tar(store, diff_id):
        hasher.update(chunk)
        written += len(chunk)
        yield chunk
    if written != size or hasher.hexdigest() != hex_of(diff_id):
        raise DataLoss(f"cannot save layer {diff_id}: its files are damaged", hint="repair it with: estiba system check --repair")
    yield tar_writer.padding(size)


def _docker_entry(saved: _Saved, layers: dict[DiffID, int]) -> dict[str, object]:
    """An item of manifest.json as Docker 25 writes it (moby, image/tarexport)."""
    image = saved.image
    sources = {diff_id: {"mediaType": media_types.OCI_LAYER, "size": layers[diff_id], "digest": diff_id} for diff_id in image.layers}
    return {
        "Config": _path(Digest(image.id)),
        "RepoTags": [name.familiar for name in saved.names] or None,
        "Layers": [_path(diff_id) for diff_id in image.layers],
        "LayerSources": sources,
    }


def _repositories(chosen: Sequence[_Saved]) -> dict[str, dict[str, str]]:
    """The file of Docker before 1.10: repository to tag to the top layer."""
    found: dict[str, dict[str, str]] = {}
    for saved in chosen:
        for name in saved.names:
            if saved.image.layers and name.tag:
                found.setdefault(name.familiar_name, {})[name.tag] = hex_of(saved.image.layers[-1])
    return found
