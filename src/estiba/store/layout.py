"""Where things are in the store, and that it is a store we may use. On the start path."""

from __future__ import annotations

import os

from estiba.config.settings import checked_folder
from estiba.errors import DataLoss, FailedPrecondition, PermissionDenied
from estiba.linux.locks import Lock, check_order, limit_waiting
from estiba.oci.digest import algorithm_of, hex_of
from estiba.oci.strict_json import dumps, get_int, get_str, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.oci.digest import Digest

#: image-layout.md, "oci-layout file".
LAYOUT_VERSION = "1.0.0"
#: The version of everything else in the store; a member of oci-layout that other tools ignore.
STORE_VERSION = 1
_VERSION_KEY = "org.estiba.store"


class Store:
    """The paths of a store; making one touches nothing (see `Store.open`).

    `root images blobs refs layers files ingest containers names trash cache locks` are folders of the store, `runtime` is the
    folder of volatile state, `default_registry` completes names in `images.find`.
    """

    __slots__ = (
        "blobs", "cache", "containers", "default_registry", "files", "images", "ingest", "layers", "locks", "names", "refs",
        "root", "runtime", "trash",
    )  # fmt: skip

    def __init__(self, root: str, runtime_dir: str, default_registry: str = "docker.io") -> None:
        self.root = root
        self.images = root + "/images"
        self.blobs = root + "/images/blobs"
        self.refs = root + "/images/refs"
        self.layers = root + "/layers"
        self.files = root + "/files"
        self.ingest = root + "/ingest"
        self.containers = root + "/containers"
        self.names = root + "/containers/names"
        self.trash = root + "/trash"
        self.cache = root + "/cache"
        self.locks = root + "/locks"
        self.runtime = runtime_dir
        self.default_registry = default_registry

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """The store of `settings`, made when it is not there.

        Raises PermissionDenied when it or the folder of volatile state is another user's or open to others, FailedPrecondition when
        it is newer than this program or the folder holds something else, DataLoss when its version cannot be read.
        """
        store = cls(settings.root, settings.runtime_dir, settings.default_registry)
        try:
            mode = _check_owner(store.root)
            with open(store.images + "/oci-layout", "rb") as file:
                _check_version(file.read(4097), store.root)
            if mode & 0o077:
                raise PermissionDenied(
                    f"cannot open store {store.root}: other users may enter it, and run the set-uid programs of images",
                    hint=f"chmod 700 {store.root}",
                )
        except FileNotFoundError:
            _create(store)
        except PermissionError as error:
            raise PermissionDenied(f"cannot open store {store.root}: {error.strerror}", hint=_OTHER_ROOT) from None
        except NotADirectoryError:
            raise FailedPrecondition(f"cannot open store {store.root}: it is not a folder") from None
        if not os.path.isdir(store.runtime):  # volatile: a restart of the machine takes it away
            _make_runtime_dir(store.runtime)
        checked_folder(store.runtime, os.geteuid())  # what its records name is removed: nobody else may write them
        limit_waiting(settings.lock_timeout)
        if settings.debug:
            check_order(True)
        return store

    def blob_path(self, digest: Digest) -> str:
        """Where the blob of a parsed digest is or would be."""
        return f"{self.blobs}/{algorithm_of(digest)}/{hex_of(digest)}"

    def lock(self, kind: str, name: str = "", *, shared: bool = False, what: str = "", timeout: float | None = None) -> Lock:
        """A lock of `kind` (see the package's docstring), of the object `name` where there are several."""
        path = f"{self.locks}/{kind}-{name}" if name else f"{self.locks}/{kind}"
        return Lock(path, shared, what or f"{kind} {name}".strip(), timeout=timeout, kind=kind)

    def using(self) -> Lock:
        """The content lock, shared: while it is held, garbage collection removes nothing."""
        return self.lock("content", shared=True, what=f"store {self.root}")

    def collecting(self, timeout: float | None = None) -> Lock:
        """The content lock, exclusive: nobody relies on content that no reference leads to."""
        return self.lock("content", what=f"store {self.root}", timeout=timeout)


_OTHER_ROOT = "use the store's owner, or choose another store with --root or ESTIBA_ROOT"


def _check_owner(root: str) -> int:
    """The mode of the store's folder, which is ours and which nobody else may write to."""
    status = os.stat(root)
    if status.st_uid != os.geteuid():
        raise PermissionDenied(f"cannot open store {root}: it belongs to user {status.st_uid}", hint=_OTHER_ROOT)
    if status.st_mode & 0o022:
        raise PermissionDenied(f"cannot open store {root}: other users may write to it", hint=f"chmod 700 {root}")
    return status.st_mode


def _check_version(data: bytes, root: str) -> None:
    what = f"{root}/images/oci-layout"
    document = loads(data, what=what, limit=4096)
    if get_str(document, "imageLayoutVersion", what) != LAYOUT_VERSION:
        raise DataLoss(f"cannot open store {root}: its image layout version is not {LAYOUT_VERSION}")
    version = get_int(document, _VERSION_KEY, what)
    if version != STORE_VERSION:
        raise FailedPrecondition(
            f"cannot open store {root}: its version is {version}, this program knows version {STORE_VERSION}",
            hint="use a newer estiba, or choose another store with --root or ESTIBA_ROOT",
        )


def folders(store: Store) -> tuple[str, ...]:
    """The folders of a store, each after the one that holds it."""
    return (
        store.root, store.images, store.blobs, store.blobs + "/sha256", store.blobs + "/sha512", store.refs, store.layers,
        store.files, store.ingest, store.containers, store.names, store.trash, store.cache, store.locks,
    )  # fmt: skip


def _create(store: Store) -> None:
    """Makes the folders, then oci-layout, which says that they are all there. Several processes may do it at once."""
    from estiba.store.publish import failure, sync_folder, write_file

    try:
        os.makedirs(os.path.dirname(store.root), mode=0o755, exist_ok=True)
        _refuse_other_content(store.root)
        for part in folders(store):
            try:
                os.mkdir(part, 0o700 if part == store.root else 0o755)
            except FileExistsError:
                pass
        _check_owner(store.root)
        os.chmod(store.root, 0o700)  # a folder that was there: layers hold set-uid programs with their owners
        for part in (os.path.dirname(store.root), store.root, store.images, store.blobs, store.containers):
            sync_folder(part)
    except OSError as error:
        raise failure(error, f"create store {store.root}") from None
    empty_index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    if not os.path.exists(store.images + "/index.json"):
        write_file(store, store.images + "/index.json", dumps(empty_index) + b"\n")
    layout = {"imageLayoutVersion": LAYOUT_VERSION, _VERSION_KEY: STORE_VERSION}
    write_file(store, store.images + "/oci-layout", dumps(layout) + b"\n")


def _make_runtime_dir(path: str) -> None:
    from estiba.store.publish import failure

    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise failure(error, f"create folder {path}") from None


def _refuse_other_content(root: str) -> None:
    """A mistyped --root must not scatter folders among somebody's files."""
    ours = {"images", "layers", "files", "ingest", "containers", "trash", "cache", "locks", "volumes", "networks", "kernels"}
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return
    strange = sorted(set(names) - ours - {"lost+found"})
    if strange:
        raise FailedPrecondition(
            f"cannot create store {root}: the folder holds something else ({strange[0]!r})",
            hint="choose an empty folder with --root or ESTIBA_ROOT",
        )
