"""`load`: images out of an archive: `docker save`, `podman save`, skopeo, an OCI layout as a tar or a directory, `estiba save`.

Every byte is checked before anything is visible: blobs against digest and size, layers against their DiffIDs, a configuration
against the name that it has in the archive. Layers go first, the names last, so a refused archive leaves no image behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

from estiba.config.settings import Settings
from estiba.engine import event_log, kernels
from estiba.engine.archives import Archive, member_name, open_archive, read_member
from estiba.engine.compression import inflate
from estiba.engine.load_oci import load_layout
from estiba.engine.new_image import add_image
from estiba.engine.progress import Progress, Silent
from estiba.errors import DataLoss, InvalidArgument, NotFound
from estiba.oci import media_types, strict_json
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, Digest, hex_of, is_hex, sha256_digest
from estiba.oci.image_config import ImageConfig, parse_image_config
from estiba.oci.platform import Platform, matches, parse_platform
from estiba.oci.reference import Reference, parse_reference
from estiba.store.images import Image
from estiba.store.layers import apply_layer
from estiba.store.layout import Store


@dataclass(frozen=True)
class Loaded:
    """One name that now stands for an image of the archive, or an image without a name."""

    image: Image
    name: Reference | None

    @property
    def line(self) -> str:
        """What Docker prints."""
        return f"Loaded image: {self.name.familiar}" if self.name else f"Loaded image ID: {self.image.id}"


def load(
    store: Store,
    settings: Settings,
    source: BinaryIO | str,
    *,
    platform: str | None = None,
    progress: Progress | None = None,
) -> list[Loaded]:
    """Loads every image of an archive.

    Parameters: `source`, a stream (standard input, an open file) or the path of an archive or layout directory, plain or compressed
    by gzip, bzip2, xz or zstd; `platform`, only images for it. Raises NotFound, InvalidArgument, DataLoss, NotImplemented,
    ResourceExhausted, PermissionDenied; nothing is loaded then, except whole images before the one that is refused.
    """
    wanted = parse_platform(platform) if platform else None
    archive = open_archive(source, store.ingest, settings.unpack_max_bytes)
    try:
        with store.using():
            if archive.has("index.json"):
                found = load_layout(store, settings, archive, wanted, progress or Silent())
            elif archive.has("manifest.json"):
                found = list(_docker_images(store, settings, archive, wanted, progress or Silent()))
            else:
                raise DataLoss(
                    f"cannot load {archive.what}: it holds neither manifest.json nor index.json",
                    hint="the tar of a root file system becomes an image with: estiba import",
                )
    finally:
        archive.close()
    if not found:
        raise NotFound(f"cannot load {archive.what}: it holds no image" + (f" for {wanted.text}" if wanted else ""))
    for image, _ in found:
        event_log.image(store, "load", str(image.id), str(image.id))
    return [Loaded(image, name) for image, name in found]


def _docker_images(
    store: Store, settings: Settings, archive: Archive, wanted: Platform | None, progress: Progress
) -> Iterator[tuple[Image, Reference | None]]:
    """The images that manifest.json lists (moby, image/tarexport)."""
    what = f"manifest.json of {archive.what}"
    items = strict_json.loads(read_member(archive, "manifest.json"), what=what)
    if not isinstance(items, list):
        raise DataLoss(f"cannot load {archive.what}: manifest.json is not a list")
    for item in items:
        entry = strict_json.as_dict(item, what)
        config = _config(archive, _member(archive, strict_json.get_str(entry, "Config", what)))
        names = [_name(archive, text) for text in strict_json.get_str_list(entry, "RepoTags", what, [])]
        members = [_member(archive, text) for text in strict_json.get_str_list(entry, "Layers", what, [])]
        if len(members) != len(config.diff_ids):
            raise DataLoss(f"cannot load {archive.what}: {len(members)} layers, but {len(config.diff_ids)} diff_ids in the configuration")
        if wanted and not matches(wanted, config.platform):
            continue
        layers = [_layer(store, settings, archive, *pair, progress) for pair in zip(members, config.diff_ids, strict=True)]
        for name in names or (None,):
            yield add_image(store, config.raw, layers, name), name


def _member(archive: Archive, text: str) -> str:
    """A member that manifest.json names; a name out of the archive is refused like such a member. Raises DataLoss, NotFound."""
    name = member_name(text.encode(), archive.what)
    archive.size(name)
    return name


def _name(archive: Archive, text: str) -> Reference:
    try:
        name = parse_reference(text)
    except InvalidArgument as error:
        raise DataLoss(f"cannot load {archive.what}: manifest.json: {error.message}") from error
    if name.tag is None or name.digest is not None:
        raise DataLoss(f"cannot load {archive.what}: manifest.json gives the name {text!r}, which is not NAME:TAG")
    kernels.refuse_name(name, archive.what)
    return name


def _config(archive: Archive, member: str) -> ImageConfig:
    """The configuration; its member is named after its digest in every archive, which must then be right."""
    data = read_member(archive, member)
    named = member.rpartition("/")[2].removesuffix(".json")
    if len(named) == 64 and is_hex(named) and hex_of(sha256_digest(data)) != named:
        raise DataLoss(f"cannot load {archive.what}: the content of member {member!r} is not what its name says")
    return parse_image_config(data, what=f"member {member!r} of {archive.what}")


def _layer(store: Store, settings: Settings, archive: Archive, member: str, diff_id: DiffID, progress: Progress) -> Descriptor:
    """Stores one layer, plain or compressed; its descriptor is that of the plain tar."""
    short, hasher, size = hex_of(diff_id)[:12], hashlib.sha256(), 0

    def plain() -> Generator[bytes, None, None]:
        nonlocal size
        for chunk in inflate(archive.chunks(member), f"member {member!r} of {archive.what}", settings.unpack_max_bytes):
            hasher.update(chunk)
            size += len(chunk)
            progress.advance(short, len(chunk))
            yield chunk

    progress.start(short, "Loading layer", archive.size(member))
    with closing(plain()) as chunks:
        apply_layer(store, settings, diff_id, media_types.OCI_LAYER, chunks)
        for _ in chunks:  # a layer that was there already is not read by `apply_layer`, and still must be what it says
            pass
    if hasher.hexdigest() != hex_of(diff_id):
        raise DataLoss(f"cannot load {archive.what}: member {member!r} is not the layer {diff_id} of the configuration")
    progress.done(short, "Loaded")
    return Descriptor(media_types.OCI_LAYER, Digest(diff_id), size)
