"""Blobs: content by digest, in ``images/blobs`` (image-spec, image-layout.md, "Blobs"). On the start path.

A blob is published only when its bytes are what its digest says; a published blob never changes.
"""

from __future__ import annotations

import os
import stat

from estiba.errors import DataLoss, NotFound
from estiba.oci.digest import algorithm_of, digest_matches, hex_of, sha256_digest
from estiba.oci.strict_json import LIMIT
from estiba.store.publish import Ingest, failure, remove_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from estiba.oci.digest import Digest
    from estiba.store.layout import Store

CHUNK = 1024 * 1024
# O_NONBLOCK: a FIFO that somebody put in a blob's place is found out, not waited for.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def open_blob(store: Store, digest: Digest) -> int:
    """A descriptor of the blob, which is a regular file. Raises NotFound, DataLoss."""
    try:
        descriptor = os.open(store.blob_path(digest), _FLAGS)
    except FileNotFoundError:
        raise NotFound(f"cannot read blob {digest}: the store does not hold it") from None
    except OSError as error:
        raise DataLoss(f"cannot read blob {digest}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataLoss(f"cannot read blob {digest}: it is not a regular file")
    return descriptor


def read_blob(store: Store, digest: Digest, *, limit: int = LIMIT, verify: bool = False) -> bytes:
    """The bytes of a blob of at most `limit` bytes; `verify` computes its digest.

    Raises NotFound, DataLoss.
    """
    descriptor = open_blob(store, digest)
    try:
        data = read_all(descriptor, limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise DataLoss(f"cannot read blob {digest}: it has more than {limit} bytes")
    if verify and not digest_matches(digest, data):
        raise DataLoss(f"cannot read blob {digest}: its content is damaged", hint="repair it with: estiba system check --repair")
    return data


def read_all(descriptor: int, limit: int) -> bytes:
    """What is left of an open file, at most `limit` bytes."""
    size = min(os.fstat(descriptor).st_size + 1, limit)
    data = os.read(descriptor, size)
    if len(data) < size:  # the usual case: one read, and the file ended
        return data
    chunks = [data]
    left = limit - len(data)
    while left and (chunk := os.read(descriptor, min(left, CHUNK))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def blob_chunks(store: Store, digest: Digest) -> Iterator[bytes]:
    """The blob in chunks; the last one comes only when the digest is right. Raises NotFound, DataLoss."""
    import hashlib

    descriptor = open_blob(store, digest)
    try:
        hasher = hashlib.new(algorithm_of(digest))
        previous = b""
        while chunk := os.read(descriptor, CHUNK):
            if previous:
                yield previous
            hasher.update(chunk)
            previous = chunk
        if hasher.hexdigest() != hex_of(digest):
            raise DataLoss(f"cannot read blob {digest}: its content is damaged")
        if previous:
            yield previous
    finally:
        os.close(descriptor)


def has_blob(store: Store, digest: Digest) -> bool:
    """Whether the store holds the blob."""
    return blob_size(store, digest) is not None


def blob_size(store: Store, digest: Digest) -> int | None:
    """The size of a blob in bytes, None when the store does not hold it."""
    try:
        status = os.lstat(store.blob_path(digest))
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def put_blob(store: Store, data: bytes) -> Digest:
    """Stores `data`; returns its digest. Raises ResourceExhausted, PermissionDenied."""
    digest = sha256_digest(data)
    put_known_blob(store, digest, data)
    return digest


def put_known_blob(store: Store, digest: Digest, data: bytes) -> None:
    """Stores `data`, which must be what `digest` says. Raises DataLoss, ResourceExhausted, PermissionDenied."""
    if blob_size(store, digest) == len(data):
        return
    with BlobWriter(store, digest, len(data)) as writer:
        writer.write(data)
        writer.commit()


def delete_blob(store: Store, digest: Digest) -> bool:
    """Removes a blob; returns whether it was there. The caller holds the content lock exclusively."""
    return remove_file(store.blob_path(digest), durable=False)


class BlobWriter:
    """Takes the bytes of a blob as they come and publishes them once they are right; a context manager.

    Parameters: `digest`, and `size` in bytes or None when unknown. Nothing stays when it is left without `commit`.
    """

    __slots__ = ("_file", "_hasher", "digest", "size", "store", "written")

    def __init__(self, store: Store, digest: Digest, size: int | None = None) -> None:
        import hashlib

        self.store = store
        self.digest = digest
        self.size = size
        self.written = 0
        self._hasher = hashlib.new(algorithm_of(digest))
        self._file = Ingest(store, f"blob {digest}")

    def write(self, data: bytes) -> None:
        """Appends `data`. Raises DataLoss as soon as there is more than `size`, ResourceExhausted."""
        self.written += len(data)
        if self.size is not None and self.written > self.size:
            raise DataLoss(f"cannot store blob {self.digest}: size mismatch, more than the {self.size} bytes promised")
        self._hasher.update(data)
        self._file.write(data)

    def commit(self) -> None:
        """Verifies and publishes. Raises DataLoss on a wrong size or digest, ResourceExhausted."""
        if self.size is not None and self.written != self.size:
            raise DataLoss(f"cannot store blob {self.digest}: size mismatch, {self.written} bytes instead of {self.size}")
        if self._hasher.hexdigest() != hex_of(self.digest):
            found = f"{algorithm_of(self.digest)}:{self._hasher.hexdigest()}"
            raise DataLoss(f"cannot store blob {self.digest}: the content's digest is {found}")
        self._file.publish(self.store.blob_path(self.digest))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def all_blobs(store: Store) -> Iterator[Digest]:
    """The digests of all blobs, by file name; names that are none are left out (`check` reports them)."""
    from estiba.errors import InvalidArgument
    from estiba.oci.digest import ALGORITHMS, parse_digest

    for algorithm in ALGORITHMS:
        try:
            names = os.listdir(f"{store.blobs}/{algorithm}")
        except OSError as error:
            raise failure(error, f"list {store.blobs}") from None
        for name in names:
            try:
                yield parse_digest(f"{algorithm}:{name}")
            except InvalidArgument:
                continue
