"""Publishing files atomically: ingest, fsync, rename, fsync of the folder. On the start path."""

from __future__ import annotations

import errno
import os

from estiba.errors import EstibaError, FailedPrecondition, PermissionDenied, ResourceExhausted
from estiba.linux.locks import try_flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from estiba.store.layout import Store


class Ingest:
    """A file in ``ingest/``, locked while it is written (see the package's docstring); a context manager.

    `publish` moves it into place; without it the file is removed at the end. `descriptor` is open for writing.
    Raises what `failure` makes of an OSError.
    """

    __slots__ = ("descriptor", "path", "store", "what")

    def __init__(self, store: Store, what: str, mode: int = 0o644) -> None:
        self.store = store
        self.what = what
        self.descriptor, self.path = _create(store, what, mode)

    def write(self, data: bytes | memoryview) -> None:
        """Appends all of `data`."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.descriptor, view) :]
        except OSError as error:
            raise failure(error, f"write {self.what}") from None

    def publish(self, path: str, *, durable: bool = True, replace: bool = True) -> bool:
        """Moves the file to `path` in the same file system; `durable` waits until disk holds it.

        Without `replace` an object that is there already stays. Returns whether the file is at `path` by this call.
        """
        try:
            if durable:
                os.fsync(self.descriptor)
            if replace:
                os.rename(self.path, path)
            else:
                os.link(self.path, path)
                os.unlink(self.path)
            self.path = ""
            if durable:
                sync_folder(os.path.dirname(path))
        except FileExistsError:
            return False
        except OSError as error:
            raise failure(error, f"write {self.what}") from None
        return True

    def close(self) -> None:
        """Removes the file unless it was published, and gives the lock up."""
        if self.path:
            _unlink_if_there(self.path)
            self.path = ""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def write_file(store: Store, path: str, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Writes `data` to `path` in the store, so that a reader sees the old content or the new one, never a part.

    `durable`: when this returns, a crash of the machine does not undo it. Raises ResourceExhausted, PermissionDenied,
    FailedPrecondition.
    """
    with Ingest(store, path, mode) as file:
        file.write(data)
        file.publish(path, durable=durable)


def remove_file(path: str, *, durable: bool = True) -> bool:
    """Removes a file of the store; returns whether it was there."""
    try:
        os.unlink(path)
        if durable:
            sync_folder(os.path.dirname(path))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise failure(error, f"remove {path}") from None
    return True


def sync_file(path: str) -> None:
    """fsync(2) of a file: its bytes are on disk. Raises what `failure` makes of an OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise failure(error, f"write {path}") from error


def sync_folder(path: str) -> None:
    """fsync(2) of a folder: renames, links and removals in it are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ingest_name(store: Store, kind: str) -> str:
    """A new path in ``ingest/``; `kind` says what is made there."""
    return f"{store.ingest}/{kind}-{os.urandom(8).hex()}"


def failure(error: OSError, what: str) -> EstibaError:
    """The error for a user that an OSError of the store means; `what` is verb and object."""
    message = f"cannot {what}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceExhausted(message, hint="free space, for example with: estiba image prune")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(message)
    return FailedPrecondition(message)


def _create(store: Store, what: str, mode: int) -> tuple[int, str]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        path = ingest_name(store, "file")
        try:
            descriptor = os.open(path, flags, mode)
        except OSError as error:
            raise failure(error, f"write {what}") from None
        # Between open and flock a sweep may have taken the file for a dead process's: then it has no name any more.
        if try_flock(descriptor) and os.fstat(descriptor).st_nlink == 1:
            return descriptor, path
        os.close(descriptor)
        _unlink_if_there(path)


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
