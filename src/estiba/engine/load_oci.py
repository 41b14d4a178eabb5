"""The images of an OCI layout (image-spec, image-layout.md), read through `archives.Archive`."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

from estiba.config.settings import Settings
from estiba.engine import kernels
from estiba.engine.archives import Archive, read_member
from estiba.engine.progress import Progress
from estiba.errors import DataLoss, InvalidArgument
from estiba.oci import strict_json
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import algorithm_of, digest_matches, hex_of
from estiba.oci.image_config import parse_image_config
from estiba.oci.manifest import INDEX_DEPTH_MAX, Index, Manifest, check_diff_ids, parse_manifest
from estiba.oci.media_types import CONFIGS, INDEXES, MANIFESTS, OCI_INDEX
from estiba.oci.platform import Platform, matches
from estiba.oci.reference import Reference, parse_reference
from estiba.store.images import Image, add
from estiba.store.layers import apply_layer
from estiba.store.layout import Store

# What containerd and Docker write, and what the specification has (annotations.md); the first is always a whole reference.
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True)
class _Job:
    store: Store
    settings: Settings
    archive: Archive
    wanted: Platform | None
    progress: Progress


def load_layout(
    store: Store, settings: Settings, archive: Archive, wanted: Platform | None, progress: Progress
) -> list[tuple[Image, Reference | None]]:
    """Loads every image of a layout; those of an index as far as the layout has them. The caller holds `Store.using`.

    Raises NotFound, DataLoss, NotImplemented, ResourceExhausted.
    """
    _check_version(archive)
    what = f"index.json of {archive.what}"
    index = parse_manifest(read_member(archive, "index.json"), OCI_INDEX, what=what)
    if not isinstance(index, Index):
        raise DataLoss(f"cannot load {archive.what}: index.json is not an index")
    job = _Job(store, settings, archive, wanted, progress)
    found: list[tuple[Image, Reference | None]] = []
    for entry in index.images:
        name = _name(entry)
        kernels.refuse_name(name, archive.what)
        found += [(image, name) for image in _load_entry(job, entry, name)]
    return found


def _check_version(archive: Archive) -> None:
    what = f"oci-layout of {archive.what}"
    document = strict_json.as_dict(strict_json.loads(read_member(archive, "oci-layout", 65536), what=what), what)
    version = strict_json.get_str(document, "imageLayoutVersion", what)
    if version != "1.0.0":
        raise DataLoss(f"cannot load {archive.what}: its image layout version is {version!r}, not 1.0.0")


def _name(entry: Descriptor) -> Reference | None:
    """The image's name; an annotation that is no reference names nothing (the specification lets it be anything)."""
    for key in NAME_ANNOTATIONS:
        try:
            name = parse_reference(entry.annotations.get(key, ""))
        except InvalidArgument:
            continue
        return name if name.tag and not name.digest else None
    return None


def _load_entry(job: _Job, entry: Descriptor, name: Reference | None) -> list[Image]:
    if entry.media_type in INDEXES:
        data = _blob(job.archive, entry)
        images = [_load_image(job, each, name, (data, entry.media_type)) for each in _present(job, data, entry, 1)]
    elif entry.media_type in MANIFESTS:
        images = [_load_image(job, entry, name, None)]
    else:
        images = []  # an artifact beside the images
    return [image for image in images if image]


def _present(job: _Job, data: bytes, entry: Descriptor, depth: int) -> Generator[Descriptor, None, None]:
    """The manifests of an index and the indexes below it, those that the layout holds (it need not hold every platform)."""
    if depth > INDEX_DEPTH_MAX:
        raise DataLoss(f"cannot load {job.archive.what}: indexes within indexes, the nesting limit is {INDEX_DEPTH_MAX}")
    index = parse_manifest(data, entry.media_type, what=f"index {entry.digest} of {job.archive.what}")
    assert isinstance(index, Index)
    for each in index.images:
        if not job.archive.has(_member(each)):
            continue
        if each.media_type in INDEXES:
            yield from _present(job, _blob(job.archive, each), each, depth + 1)
        elif each.media_type in MANIFESTS:
            yield each


def _load_image(job: _Job, entry: Descriptor, name: Reference | None, index: tuple[bytes, str] | None) -> Image | None:
    """Loads one image; None for an artifact that is none, and for one of another platform than the wanted."""
    what = f"manifest {entry.digest} of {job.archive.what}"
    manifest = parse_manifest(_blob(job.archive, entry), entry.media_type, what=what)
    assert isinstance(manifest, Manifest)
    if manifest.config.media_type not in CONFIGS:
        return None
    config_data = _blob(job.archive, manifest.config)
    config = parse_image_config(config_data, what=f"configuration {manifest.config.digest} of {job.archive.what}")
    check_diff_ids(manifest, config.diff_ids, what=what)
    if job.wanted and not matches(job.wanted, config.platform):
        return None
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        short = hex_of(layer.digest)[:12]
        job.progress.start(short, "Loading layer", layer.size)
        with closing(_checked(job.archive, layer, job.progress)) as chunks:
            # The first bytes tell the compression, as in containerd: skopeo writes plain layers under gzip's media type.
            apply_layer(job.store, job.settings, diff_id, "", chunks)
            for _ in chunks:  # of a layer that was there already
                pass
        job.progress.done(short, "Loaded")
    return add(
        job.store, manifest.raw, manifest.media_type, config_data, name,
        index=index[0] if index else None, index_media_type=index[1] if index else "",
    )  # fmt: skip


def _member(descriptor: Descriptor) -> str:
    return f"blobs/{algorithm_of(descriptor.digest)}/{hex_of(descriptor.digest)}"


def _blob(archive: Archive, descriptor: Descriptor) -> bytes:
    """A small blob, checked. Raises NotFound, DataLoss."""
    member = _member(descriptor)
    data = read_member(archive, member)
    if len(data) != descriptor.size:
        raise DataLoss(f"cannot load {archive.what}: {member!r} has {len(data)} bytes, its descriptor says {descriptor.size}")
    if not digest_matches(descriptor.digest, data):
        raise DataLoss(f"cannot load {archive.what}: the content of {member!r} is not what its name says")
    return data


def _checked(archive: Archive, descriptor: Descriptor, progress: Progress) -> Generator[bytes, None, None]:
    """A layer's blob; its last chunk comes only when size and digest are right. Raises NotFound, DataLoss."""
    member, short = _member(descriptor), hex_of(descriptor.digest)[:12]
    size = archive.size(member)
    if size != descriptor.size:
        raise DataLoss(f"cannot load {archive.what}: {member!r} has {size} bytes, its descriptor says {descriptor.size}")
    hasher, held = hashlib.new(algorithm_of(descriptor.digest)), b""
    for chunk in archive.chunks(member):
        hasher.update(chunk)
        progress.advance(short, len(chunk))
        if held:
            yield held
        held = chunk
    if hasher.hexdigest() != hex_of(descriptor.digest):
        raise DataLoss(f"cannot load {archive.what}: the content of {member!r} is not what its name says")
    if held:
        yield held
