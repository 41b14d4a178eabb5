"""`pull`: an image from a registry into the store.

Manifest first, then the configuration, then every layer that the store lacks, several at a time. Each blob is fetched under a
lock of its own: of two processes that pull one image, the second one waits and finds it there. Nothing is visible before the
reference is written, and what a failed pull leaves behind is whole layers, which the next one finds.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from estiba import errors
from estiba.config.settings import Settings
from estiba.engine import event_log
from estiba.engine.progress import Progress, Silent
from estiba.linux.locks import Lock
from estiba.oci import strict_json
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import DiffID, Digest, hex_of
from estiba.oci.image_config import ImageConfig, parse_image_config
from estiba.oci.manifest import Index, Manifest, check_diff_ids, choose_manifest, no_platform, parse_manifest
from estiba.oci.platform import Platform, host_platform, matches, parse_platform
from estiba.oci.reference import Reference, parse_reference
from estiba.store import blobs, gc, images, layers, references
from estiba.store.images import Image
from estiba.store.layout import Store

if TYPE_CHECKING:
    from concurrent.futures import Future

    from estiba.registry.client import Registry

#: Workers that start while the registry is asked about an image that is not here.
_EARLY_WORKERS = 2


def pull(
    store: Store,
    settings: Settings,
    reference: str | Reference,
    *,
    platform: str | Platform | None = None,
    progress: Progress | None = None,
) -> Image:
    """Fetch one image and let `reference` stand for it.

    Parameters: `reference` as typed or parsed; `platform`, else this machine's. Raises InvalidArgument, NotFound (no such image,
    or none for the platform), Unauthenticated, PermissionDenied, Unavailable, DataLoss, NotImplemented, ResourceExhausted.
    """
    wanted = reference if isinstance(reference, Reference) else parse_reference(reference, settings.default_registry)
    chosen = parse_platform(platform) if isinstance(platform, str) else platform
    with layers.Workers(settings) as workers:
        if references.get(store, wanted) is None:
            workers.prepare(_EARLY_WORKERS)
        with _registry(settings, wanted.registry) as registry:
            return _Pull(store, settings, registry, workers, chosen, progress or Silent()).pull(wanted)


def pull_all(
    store: Store,
    settings: Settings,
    reference: str | Reference,
    *,
    platform: str | Platform | None = None,
    progress: Progress | None = None,
) -> list[Image]:
    """Fetch every tag of a repository (`--all-tags`); the reference must name none. Raises as `pull`."""
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if ":" in name or "@" in name:
            raise errors.InvalidArgument(
                f"cannot pull all tags of {reference[:200]!r}: it names a tag or digest", hint="give the repository only"
            )
        reference = parse_reference(reference, settings.default_registry)
    chosen = parse_platform(platform) if isinstance(platform, str) else platform
    with layers.Workers(settings) as workers, _registry(settings, reference.registry) as registry:
        job = _Pull(store, settings, registry, workers, chosen, progress or Silent())
        return [job.pull(reference.with_tag(tag)) for tag in registry.tags(reference.repository)]


def _registry(settings: Settings, host: str) -> Registry:
    from estiba.registry.client import Registry
    from estiba.registry.credentials import Credentials

    return Registry(host, settings, Credentials().get)


class _Pull:
    """What the steps of one pull share."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        registry: Registry,
        workers: layers.Workers,
        platform: Platform | None,
        progress: Progress,
    ) -> None:
        self.store = store
        self.settings = settings
        self.registry = registry
        self._workers = workers
        self._platform = platform
        self._wanted = platform or host_platform()
        self.progress = progress
        self._stop = threading.Event()

    def pull(self, reference: Reference) -> Image:
        gc.sweep(self.store)  # what a killed pull has left is in the way of this one, when the disk is small
        with self.store.using():
            return self._pull(reference)

    def _pull(self, reference: Reference) -> Image:
        repository = reference.repository
        self.progress.done(reference.tag or str(reference.digest), f"Pulling from {repository}")
        before = references.get(self.store, reference)
        data, media_type, digest = self._document(reference)
        document = parse_manifest(data, media_type, what=f"the manifest of {reference.familiar}")
        manifest = choose_manifest(document, self._wanted, lambda entry: self._entry(repository, entry), what=reference.familiar)
        config_data = self._config(repository, manifest.config)
        config = parse_image_config(config_data, what=f"the configuration of {reference.familiar}")
        check_diff_ids(manifest, config.diff_ids, what=reference.familiar)
        self._check_platform(config, reference)
        fetched = self._layers(repository, manifest, config)
        index = document if isinstance(document, Index) else None
        image = images.add(
            self.store,
            manifest.raw,
            manifest.media_type,
            config_data,
            reference,
            index=index.raw if index else None,
            index_media_type=index.media_type if index else "",
        )
        fresh = fetched or before is None or before.digest != digest
        self.progress.done("Digest", digest)
        status = f"Downloaded newer image for {reference.familiar}" if fresh else f"Image is up to date for {reference.familiar}"
        self.progress.done("Status", status)
        event_log.image(self.store, "pull", reference.familiar, reference.name)
        return image

    def _document(self, reference: Reference) -> tuple[bytes, str, Digest]:
        """The manifest or index that `reference` stands for now: from the store when it is there already."""
        known = references.get(self.store, reference)
        media_type = known.media_type if known else ""
        if reference.digest is not None:
            digest: Digest | None = reference.digest
        elif known is not None:
            # HEAD is not counted against a limit of pulls (Docker Hub), and most images have not changed.
            digest = self.registry.head_manifest(reference.repository, reference.tag or "latest")
        else:
            digest = None
        if digest is not None and blobs.has_blob(self.store, digest):
            if known is None or known.digest != digest:
                media_type = ""  # that of another manifest
            return blobs.read_blob(self.store, digest, verify=True), media_type, digest
        return self.registry.get_manifest(reference.repository, reference.digest or reference.tag or "latest")

    def _entry(self, repository: str, entry: Descriptor) -> bytes:
        """The manifest behind an entry of an index, which must be of the type and size that the index says."""
        if blobs.has_blob(self.store, entry.digest):
            data = blobs.read_blob(self.store, entry.digest, verify=True)
        else:
            if entry.size > strict_json.LIMIT:
                raise errors.DataLoss(f"cannot use manifest {entry.digest}: larger than the limit of {strict_json.LIMIT} bytes")
            data, media_type, _ = self.registry.get_manifest(repository, entry.digest)
            if media_type and media_type != entry.media_type:
                raise errors.DataLoss(f"cannot use manifest {entry.digest}: the index says {entry.media_type}, the registry {media_type}")
        if len(data) != entry.size:
            raise errors.DataLoss(
                f"cannot use manifest {entry.digest}: size mismatch, the index says {entry.size} bytes, it has {len(data)}"
            )
        return data

    def _config(self, repository: str, descriptor: Descriptor) -> bytes:
        digest = descriptor.digest
        if descriptor.size > strict_json.LIMIT:
            raise errors.DataLoss(f"cannot use configuration {digest}: larger than the limit of {strict_json.LIMIT} bytes")
        with _fetching(self.store, digest) as lock:
            try:
                if not blobs.has_blob(self.store, digest):
                    data = b"".join(self.registry.blob_chunks(repository, descriptor))
                    blobs.put_known_blob(self.store, digest, data)
            finally:
                lock.remove()
        data = blobs.read_blob(self.store, digest, verify=True)
        if len(data) != descriptor.size:
            raise errors.DataLoss(
                f"cannot use configuration {digest}: size mismatch, the manifest says {descriptor.size} bytes, it has {len(data)}"
            )
        return data

    def _check_platform(self, config: ImageConfig, reference: Reference) -> None:
        """An index is chosen from; a manifest alone only says at its end what it is for."""
        if matches(self._wanted, config.platform):
            return
        if self._platform is not None:
            raise no_platform(self._wanted, [config.platform], reference.familiar)
        self.progress.note(f"{reference.familiar} is for {config.platform.text}, this machine is {self._wanted.text}")

    def _layers(self, repository: str, manifest: Manifest, config: ImageConfig) -> bool:
        """Fetch what is missing; True when there was something to fetch."""
        missing: dict[DiffID, Descriptor] = {}
        for descriptor, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if layers.has_layer(self.store, diff_id):
                self.progress.done(_short(descriptor), "Already exists")
            elif diff_id not in missing:
                missing[diff_id] = descriptor
                self.progress.start(_short(descriptor), "Pulling fs layer")
        if not missing:
            return False
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.settings.parallel_downloads, "pull") as pool:
            jobs: list[Future[None]] = []
            with errors.OnFailure(self._give_up, jobs):  # the threads must end before the store is let go
                # The largest first: a large one that comes last would keep one processor busy alone.
                largest = sorted(missing.items(), key=lambda item: -item[1].size)
                jobs += (pool.submit(self._layer, repository, *item) for item in largest)
                self._await(jobs)
        return True

    def _give_up(self, jobs: list[Future[None]]) -> None:
        self._stop.set()
        self.registry.cancel()
        for job in jobs:
            job.cancel()

    @staticmethod
    def _await(jobs: list[Future[None]]) -> None:
        from concurrent.futures import FIRST_EXCEPTION, wait

        finished, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        for job in finished:
            job.result()

    def _layer(self, repository: str, diff_id: DiffID, descriptor: Descriptor) -> None:
        if self._stop.is_set():
            raise errors.Cancelled("cannot pull: interrupted")
        stream = _LayerStream(self, repository, descriptor)
        source = f"{self.registry.host}/{repository}"
        blob = layers.LayerBlob(descriptor.digest, descriptor.size, descriptor.media_type, source)
        try:
            self._workers.apply(diff_id, stream, blob, progress=self.progress)
        finally:
            stream.close()
        if not stream.started:
            layers.add_blob(self.store, diff_id, descriptor, source)
        self.progress.done(_short(descriptor), "Pull complete" if stream.started else "Already exists")


class _LayerStream:
    """A compressed layer's bytes on their way into the store: from its own blob or the registry, counted, and kept if so set.

    Nothing happens before the first `next`: `apply_layer` asks for that only when the layer is not there.
    """

    def __init__(self, job: _Pull, repository: str, descriptor: Descriptor) -> None:
        self.started = False
        self._job = job
        self._repository = repository
        self._descriptor = descriptor
        self._chunks = self._read()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._chunks.close()

    def _read(self) -> Generator[bytes, None, None]:
        self.started = True
        descriptor, name = self._descriptor, _short(self._descriptor)
        if blobs.has_blob(self._job.store, descriptor.digest):
            self._job.progress.start(name, "Extracting", descriptor.size)
            source = blobs.blob_chunks(self._job.store, descriptor.digest)
        else:
            self._job.progress.start(name, "Downloading", descriptor.size)
            source = self._job.registry.blob_chunks(self._repository, descriptor)
            if self._job.settings.keep_blobs:
                source = self._kept(source)
        for chunk in source:
            self._job.progress.advance(name, len(chunk))
            yield chunk

    def _kept(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        with blobs.BlobWriter(self._job.store, self._descriptor.digest, self._descriptor.size) as writer:
            for chunk in chunks:
                writer.write(chunk)
                yield chunk
            writer.commit()


def _fetching(store: Store, digest: Digest) -> Lock:
    """The lock under which a blob that is no layer is fetched; it comes last in the order of locks, and is held for one fetch."""
    return Lock(f"{store.locks}/blob-{hex_of(digest)}", what=f"blob {digest[:19]}")


def _short(descriptor: Descriptor) -> str:
    return hex_of(descriptor.digest)[:12]
