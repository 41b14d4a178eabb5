"""`push`: an image of the store to a registry.

A layer goes up in the first of these ways that works: the registry has it; it is mounted from another repository of that registry;
its blob is in the store; its blob is fetched from the registry it came from; its exact tar is rebuilt and compressed again. Only the
last one changes the layer's digest, and with it the manifest's, which is said. The configuration's bytes, and so the image's id,
never change.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

from estiba import errors
from estiba.config.settings import Settings
from estiba.engine import event_log
from estiba.engine.progress import Progress, Silent
from estiba.oci import media_types
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, Digest, hex_of
from estiba.oci.manifest import Manifest
from estiba.oci.platform import Platform, parse_platform
from estiba.oci.reference import Reference, parse_reference
from estiba.registry.client import Registry
from estiba.registry.credentials import Credentials
from estiba.store import blobs, images, layers, references
from estiba.store.images import Image
from estiba.store.layout import Store

#: What may go wrong with a blob's source without the push being lost: the layer can be compressed again.
_SOURCE_FAULTS = (errors.Unavailable, errors.NotFound, errors.Unauthenticated, errors.PermissionDenied, errors.DataLoss)
#: zlib's level for layers that are compressed again: the registry and every later pull pay for the size, so not the fastest.
_LEVEL = 6


class Pushed:
    """What one push did: `reference`, `digest` of the manifest and its `size` in bytes; `str()` is Docker's last line."""

    def __init__(self, reference: Reference, digest: Digest, size: int) -> None:
        self.reference = reference
        self.digest = digest
        self.size = size

    def __str__(self) -> str:
        return f"{self.reference.tag or self.reference.digest}: digest: {self.digest} size: {self.size}"


def push(
    store: Store,
    settings: Settings,
    reference: str | Reference,
    *,
    platform: str | Platform | None = None,
    all_tags: bool = False,
    progress: Progress | None = None,
) -> list[Pushed]:
    """Send an image under its own name; with `all_tags` every tag that the store has of the repository.

    Of an index the image of `platform` (else this machine's) is sent. Raises NotFound, InvalidArgument, Unauthenticated,
    PermissionDenied, Unavailable, DataLoss, ResourceExhausted.
    """
    wanted = reference if isinstance(reference, Reference) else parse_reference(reference, settings.default_registry)
    chosen = parse_platform(platform) if isinstance(platform, str) else platform
    if wanted.digest is not None:
        raise errors.InvalidArgument(f"cannot push {wanted.familiar}: a digest cannot be pushed to", hint="push a tag")
    targets = _tags(store, wanted, str(reference)) if all_tags else [wanted]
    with Registry(wanted.registry, settings, Credentials().get) as registry, store.using():
        job = _Push(store, settings, registry, progress or Silent())
        found = [images.find(store, target.canonical, chosen) for target in targets]
        try:
            return [job.push(target, image) for target, image in zip(targets, found, strict=True)]
        finally:
            job.close()


def _tags(store: Store, wanted: Reference, typed: str) -> list[Reference]:
    if ":" in typed.rpartition("/")[2]:
        raise errors.InvalidArgument(f"cannot push all tags of {typed[:200]!r}: it names a tag", hint="give the repository only")
    tags = [reference for reference, _ in references.all(store) if reference.name == wanted.name and reference.tag]
    if not tags:
        raise errors.NotFound(f"cannot push {wanted.familiar_name}: the store holds no tag of it")
    return tags


class _Push:
    """What the steps of one push share."""

    def __init__(self, store: Store, settings: Settings, registry: Registry, progress: Progress) -> None:
        self._store = store
        self._settings = settings
        self._registry = registry
        self._progress = progress
        self._sources: dict[str, Registry] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections to the registries that blobs were fetched from."""
        for source in self._sources.values():
            source.close()

    def push(self, reference: Reference, image: Image) -> Pushed:
        repository, manifest = reference.repository, image.manifest
        self._progress.done(reference.tag or "", f"Pushing to {reference.name}")
        pairs = dict(zip(manifest.layers, image.layers, strict=True))
        with ThreadPoolExecutor(self._settings.parallel_downloads, "push") as pool:
            jobs: list[Future[Descriptor]] = []
            with errors.OnFailure(self._stop, jobs):
                jobs += (pool.submit(self._layer, repository, descriptor, diff_id) for descriptor, diff_id in pairs.items())
                sent = {descriptor.digest: job.result() for descriptor, job in zip(pairs, jobs, strict=True)}
        self._config(repository, manifest.config)
        new = [sent[descriptor.digest] for descriptor in manifest.layers]
        data = manifest.raw
        if any(after.digest != before.digest for after, before in zip(new, manifest.layers, strict=True)):
            data = Manifest.build(manifest.config, new, manifest.media_type, manifest.annotations)
        digest = self._registry.put_manifest(repository, reference.tag or "latest", manifest.media_type, data)
        if digest != image.manifest_digest:
            self._progress.note(
                f"layers were compressed again: the manifest is {digest}, it was {image.manifest_digest}; the image id is the same"
            )
        event_log.image(self._store, "push", reference.familiar, reference.name)
        return Pushed(reference, digest, len(data))

    def _stop(self, jobs: list[Future[Descriptor]]) -> None:
        self._registry.cancel()
        for job in jobs:
            job.cancel()

    def _config(self, repository: str, descriptor: Descriptor) -> None:
        if self._registry.has_blob(repository, descriptor.digest):
            return
        data = blobs.read_blob(self._store, descriptor.digest, verify=True)
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            self._registry.upload_blob(repository, descriptor.digest, len(data), cast("BinaryIO", file))

    def _layer(self, repository: str, descriptor: Descriptor, diff_id: DiffID) -> Descriptor:
        """Bring one layer into the repository; returns the descriptor under which it is there."""
        name = hex_of(descriptor.digest)[:12]
        if self._registry.has_blob(repository, descriptor.digest):
            self._progress.done(name, "Layer already exists")
            return descriptor
        location = None
        for source in self._repositories(diff_id, descriptor, self._registry.host):
            location = self._registry.mount_blob(repository, descriptor.digest, source)
            if location is None:
                self._progress.done(name, f"Mounted from {source}")
                return descriptor
        before = self._compressed_before(repository, descriptor, diff_id)
        if before is not None:
            self._progress.done(name, "Layer already exists")
            return before
        with tempfile.TemporaryFile(dir=self._store.ingest) as file:
            spool = cast("BinaryIO", file)
            if self._spool(spool, descriptor, diff_id):
                self._upload(repository, descriptor, spool, name, location)
                return descriptor
            return self._compress(repository, descriptor, diff_id, spool)

    def _compressed_before(self, repository: str, descriptor: Descriptor, diff_id: DiffID) -> Descriptor | None:
        """Another form of the layer that an earlier push brought into this repository, if it is still there."""
        docker = _is_docker(descriptor)
        for blob in layers.layer_info(self._store, diff_id).blobs:
            form = Descriptor(blob.media_type, blob.digest, blob.size, annotations=descriptor.annotations)
            ours = blob.source == f"{self._registry.host}/{repository}" and blob.digest != descriptor.digest
            if ours and _is_docker(form) == docker and self._registry.has_blob(repository, blob.digest):
                return form
        return None

    def _compress(self, repository: str, descriptor: Descriptor, diff_id: DiffID, file: BinaryIO) -> Descriptor:
        name = hex_of(descriptor.digest)[:12]
        self._progress.start(name, "Compressing")
        media_type = media_types.DOCKER_LAYER_GZIP if _is_docker(descriptor) else media_types.OCI_LAYER_GZIP
        digest, size = _write(file, _gzip(layers.open_tar(self._store, diff_id, self._settings)))
        again = Descriptor(media_type, digest, size, annotations=descriptor.annotations)
        if self._registry.has_blob(repository, digest):
            self._progress.done(name, "Layer already exists")
        else:
            self._upload(repository, again, file, name, None)
        layers.add_blob(self._store, diff_id, again, f"{self._registry.host}/{repository}")
        return again

    def _upload(self, repository: str, descriptor: Descriptor, file: BinaryIO, name: str, location: str | None) -> None:
        self._progress.start(name, "Pushing", descriptor.size)
        self._registry.upload_blob(
            repository,
            descriptor.digest,
            descriptor.size,
            file,
            location=location,
            sent=lambda count: self._progress.advance(name, count),
        )
        self._progress.done(name, "Pushed")

    def _spool(self, file: BinaryIO, descriptor: Descriptor, diff_id: DiffID) -> bool:
        """Write the blob as it was pulled into `file`; False when it can be had nowhere."""
        if blobs.has_blob(self._store, descriptor.digest):
            _write(file, blobs.blob_chunks(self._store, descriptor.digest))
            return True
        if descriptor.media_type in {media_types.OCI_LAYER, media_types.DOCKER_LAYER}:
            _write(file, layers.open_tar(self._store, diff_id, self._settings))
            return True
        for host, repository in self._origins(diff_id, descriptor):
            try:
                self._progress.start(hex_of(descriptor.digest)[:12], f"Fetching from {host}", descriptor.size)
                _write(file, self._source(host).blob_chunks(repository, descriptor))
            except _SOURCE_FAULTS:
                continue
            return True
        return False

    def _source(self, host: str) -> Registry:
        with self._lock:
            if host not in self._sources:
                self._sources[host] = Registry(host, self._settings, Credentials().get)
            return self._sources[host]

    def _repositories(self, diff_id: DiffID, descriptor: Descriptor, host: str) -> list[str]:
        return [repository for origin, repository in self._origins(diff_id, descriptor) if origin == host]

    def _origins(self, diff_id: DiffID, descriptor: Descriptor) -> list[tuple[str, str]]:
        """(registry, repository) pairs where the blob has been seen."""
        info = layers.layer_info(self._store, diff_id)
        found = []
        for blob in info.blobs:
            if blob.digest == descriptor.digest and blob.source:
                host, _, repository = blob.source.partition("/")
                found.append((host, repository))
        return found


def _is_docker(descriptor: Descriptor) -> bool:
    """Whether the layer's media type is Docker's: a manifest has types of one family."""
    return descriptor.media_type.startswith("application/vnd.docker.")


def _gzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """RFC 1952 with no name and no time: equal input gives equal output."""
    import zlib

    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    for chunk in chunks:
        packed = packer.compress(chunk)
        if packed:
            yield packed
    yield packer.flush()


def _write(file: BinaryIO, chunks: Iterable[bytes]) -> tuple[Digest, int]:
    """Write all of `chunks` from the file's start; returns digest and size, and leaves the file at its start."""
    file.seek(0)
    file.truncate()
    digest = hashlib.sha256()
    size = 0
    try:
        for chunk in chunks:
            digest.update(chunk)
            size += file.write(chunk)
    except OSError as error:
        raise errors.ResourceExhausted(f"cannot write a layer into the store: {error.strerror}") from error
    file.seek(0)
    return Digest("sha256:" + digest.hexdigest()), size
