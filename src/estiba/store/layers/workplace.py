"""The folder in which a layer is made before it is published."""

from __future__ import annotations

import errno
import os

from estiba.errors import EstibaError
from estiba.linux.locks import try_flock
from estiba.oci.digest import DiffID
from estiba.store.layers.info import layer_folder
from estiba.store.layers.remove import empty_trash
from estiba.store.publish import failure, ingest_name, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from estiba.config.settings import Settings
    from estiba.store.layout import Store


class Workplace:
    """A folder of `ingest/` with an empty `fs`, locked; a context manager that throws it away unless it was published."""

    def __init__(self, store: Store, settings: Settings, verb: str) -> None:
        self._store = store
        self._settings = settings
        self._verb = verb
        self.path = ""
        self.descriptor = -1

    @property
    def name(self) -> bytes:
        """The folder's name in `ingest/`."""
        return os.path.basename(self.path).encode()

    def publish(self, diff_id: DiffID) -> None:
        """Moves the folder to its place, for good. One that is there already, made by another process, is as good."""
        try:
            os.rename(self.path, layer_folder(self._store, diff_id))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return
        self.path = ""
        sync_folder(self._store.layers)

    def __enter__(self) -> Self:
        try:
            while not self._make():
                pass
            os.mkdir(self.path + "/fs", 0o700)
        except OSError as error:
            raise failure(error, self._verb) from None
        return self

    def _make(self) -> bool:
        """Makes and locks a folder; False when a sweep took it for a dead process's between the two."""
        path = ingest_name(self._store, "layer")
        os.mkdir(path, 0o755)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if try_flock(descriptor) and os.path.samestat(os.stat(path), os.fstat(descriptor)):
                os.fchmod(descriptor, 0o755)  # whatever the caller's umask: a container's root comes through here
                self.path, self.descriptor = path, descriptor
                descriptor = -1
                return True
        except FileNotFoundError:
            return False
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self.path:
                os.rename(self.path, f"{self._store.trash}/{os.path.basename(self.path)}")
                empty_trash(self._store, self._settings)
        except (OSError, EstibaError):
            # The folder stays for the next sweep, which finds it unlocked. What went wrong before is what the user must hear.
            if error is None:
                raise
        finally:
            os.close(self.descriptor)
