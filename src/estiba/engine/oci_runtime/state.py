"""What is on disk of a runtime's container: ``<root>/<id>/`` with `state.json`, the `config.json` that it was made from, the socket `start`
while it waits for that, and `lock`.

The record is written before anything of the container is made, and is the first to know its control groups, so that `delete` finds all of
it whatever was killed. A process is known by pid and start time.
"""

from __future__ import annotations

import os

from estiba.engine.oci_runtime.config import SPEC_VERSION, Bundle, Section
from estiba.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from estiba.linux.freezer import Freezer
from estiba.linux.locks import Lock
from estiba.linux.process import start_time
from estiba.oci import strict_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SOCKET = "start"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def default_root() -> str:
    """Where states are without --root: below /run for root, else below the user's runtime directory."""
    if os.geteuid() == 0:
        return "/run/estiba-runtime"
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.geteuid()}'}/estiba-runtime"


def check_id(name: str) -> str:
    """`name` where it can be a container's. Raises InvalidArgument."""
    if not name or name in (".", "..") or len(name) > 255 or not set(name) <= _LETTERS:
        raise InvalidArgument(f"cannot use container id {name!r}: letters, digits and _ + - . make one")
    return name


class State:
    """One container: its record and how it is now."""

    __slots__ = ("annotations", "bundle", "cgroups", "created", "creator", "folder", "id", "made_cgroups", "pid", "root", "root_mounts",
                 "started", "version")  # fmt: skip

    def __init__(self, root: str, name: str) -> None:
        self.id = check_id(name)
        self.folder = f"{root}/{name}"
        self.bundle = ""
        self.version = SPEC_VERSION
        self.annotations: dict[str, str] = {}
        self.pid = 0
        self.started = ""
        self.creator = f"{os.getpid()} {start_time(os.getpid())}"
        self.created = ""
        # Every directory that its processes are in, and those of them that were made for it.
        self.cgroups: list[str] = []
        self.made_cgroups: list[str] = []
        # Without a mount namespace of its own: the folder that its root was mounted over, and how many mounts were there before.
        self.root = ""
        self.root_mounts = 0

    # --- on disk ----------------------------------------------------------------------------------------------------------

    @classmethod
    def make(cls, root: str, name: str, bundle: Bundle) -> State:
        """Takes the id. Raises AlreadyExists, PermissionDenied."""
        import time

        state = cls(root, name)
        state.bundle = bundle.folder
        state.version = bundle.config.text("ociVersion")
        state.annotations = bundle.config.words("annotations")
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        state.created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"
        try:
            os.makedirs(root, mode=0o711, exist_ok=True)
            os.mkdir(state.folder, 0o700)
        except FileExistsError:
            raise AlreadyExists(f"cannot create container {name}: a container with this id already exists") from None
        except OSError as error:
            raise PermissionDenied(f"cannot create container {name}: {error.filename}: {error.strerror}") from error
        state.write()
        with open(f"{state.folder}/config.json", "xb") as file:
            file.write(bundle.data)
        return state

    @classmethod
    def read(cls, root: str, name: str) -> State:
        """Reads the record. Raises NotFound, DataLoss."""
        state = cls(root, name)
        try:
            with open(f"{state.folder}/state.json", "rb") as file:
                value = strict_json.as_dict(strict_json.loads(file.read(), what=f"the state of {name}"), name)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"cannot find container {name}: container does not exist") from None
        record = Section(value, f"the state of {name}")
        state.bundle, state.version, state.created = record.text("bundle"), record.text("ociVersion"), record.text("created")
        state.annotations = record.words("annotations")
        state.pid, state.started, state.creator = record.number("pid"), record.text("started"), record.text("creator")
        state.cgroups, state.made_cgroups = record.texts("cgroups"), record.texts("madeCgroups")
        state.root, state.root_mounts = record.text("root", ""), record.number("rootMounts", 0)
        return state

    def write(self) -> None:
        """Publishes the record."""
        value: dict[str, object] = {
            "ociVersion": self.version,
            "id": self.id,
            "bundle": self.bundle,
            "annotations": self.annotations,
            "pid": self.pid,
            "started": self.started,
            "creator": self.creator,
            "created": self.created,
            "cgroups": self.cgroups,
            "madeCgroups": self.made_cgroups,
            "root": self.root,
            "rootMounts": self.root_mounts,
        }
        with open(f"{self.folder}/state.json.new", "wb") as file:
            file.write(strict_json.dumps(value))
        os.rename(f"{self.folder}/state.json.new", f"{self.folder}/state.json")

    def lock(self) -> Lock:
        """The lock of who changes the container."""
        return Lock(f"{self.folder}/lock", what=f"container {self.id}")

    def config(self) -> Bundle:
        """What the container was made from: a config.json that is changed afterwards changes nothing."""
        with open(f"{self.folder}/config.json", "rb") as file:
            return Bundle(self.bundle, file.read())

    def remove(self) -> None:
        """Removes all of it, the record last."""
        names = [name for name in os.listdir(self.folder) if name != "state.json"]
        for name in (*names, "state.json"):
            os.unlink(f"{self.folder}/{name}")
        os.rmdir(self.folder)

    # --- now --------------------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the container's first process lives; one that nobody has waited for yet has ended."""
        return self.pid > 0 and start_time(self.pid) == self.started and not _is_zombie(self.pid)

    @property
    def waits(self) -> bool:
        """Whether it waits for `start`."""
        return os.path.lexists(f"{self.folder}/{SOCKET}")

    @property
    def freezer(self) -> Freezer | None:
        """What stops all its processes."""
        return Freezer.of(self.cgroups)

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if self.pid == 0:
            pid, _, started = self.creator.partition(" ")
            return "creating" if start_time(int(pid)) == started else "stopped"
        if not self.alive:
            return "stopped"
        freezer = self.freezer
        if freezer is not None and freezer.is_frozen():
            return "paused"
        return "created" if self.waits else "running"

    def json(self, status: str | None = None) -> dict[str, Any]:
        """The state that the specification describes (runtime.md#state)."""
        status = status or self.status
        return {
            "ociVersion": self.version,
            "id": self.id,
            "status": status,
            "pid": 0 if status == "stopped" else self.pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        }


def every(root: str) -> Iterator[State]:
    """The containers of a root, by id."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in names:
        try:
            yield State.read(root, name)
        except (NotFound, InvalidArgument):
            continue  # being made or removed at this moment, or not ours


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"])
    except (FileNotFoundError, ProcessLookupError):
        return True
