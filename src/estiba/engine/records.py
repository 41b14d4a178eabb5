"""The record of what a running container holds on this machine; engine/reclaim.py takes it back from a dead one. On the start path.

``<runtime directory>/live/<container id>`` is written before anything that it names is made, and removed by the monitor when the
container is gone. Lines, in any order:

    creator PID START       the process that makes the container (proc_pid_stat(5), field 22), for the time before it runs
    folder PATH             the container's folder; its ``status`` file is locked as long as keeper or monitor live
    name PATH               the container's entry in containers/names
    trash PATH              where the folder is moved to when it goes
    remove 1                --rm: folder and name go with the container where `names.goes` still says so, else only when it was never
                            finished (no state.json)
    range SLOT              its id range
    cgroup PATH             one control group
"""

from __future__ import annotations

import os

from estiba.engine import status
from estiba.linux.process import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.linux.idmap import Ranges


def live_folder(settings: Settings) -> str:
    """Where the records are."""
    return f"{settings.runtime_dir}/live"


def attach_folder(settings: Settings) -> str:
    """Where monitors wait for clients: a socket for each container, named by its id."""
    return f"{settings.runtime_dir}/attach"


def ranges(settings: Settings) -> Ranges:
    """The id ranges of root's containers."""
    from estiba.linux import idmap

    count = settings.id_range_count // idmap.RANGE_SIZE
    return idmap.Ranges(f"{settings.runtime_dir}/ranges", settings.id_range_start, count)


def make_folders(settings: Settings) -> None:
    """Makes the folders of volatile state, which a boot empties."""
    for path in (settings.runtime_dir, live_folder(settings), attach_folder(settings), f"{settings.runtime_dir}/ranges"):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue


class Record:
    """What one container holds. Attributes as in the module's lines; empty or None where there is no such line."""

    __slots__ = ("cgroups", "creator", "folder", "id", "name", "remove", "slot", "trash")

    def __init__(self, container_id: str, folder: str) -> None:
        self.id = container_id
        self.folder = folder
        self.creator = ""
        self.trash = ""
        self.remove = False
        self.name = ""
        self.slot: int | None = None
        self.cgroups: list[str] = []

    def write(self, settings: Settings) -> None:
        """Makes or replaces the record."""
        path = f"{live_folder(settings)}/{self.id}"
        content = "".join(f"{key} {value}\n" for key, value in self._lines()).encode("utf-8", "surrogateescape")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            make_folders(settings)
            descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)

    def _lines(self) -> list[tuple[str, object]]:
        lines: list[tuple[str, object]] = [("creator", self.creator or this_process()), ("folder", self.folder)]
        lines += [("name", self.name), ("trash", self.trash)]
        lines += [("remove", 1)] if self.remove else []
        lines += [] if self.slot is None else [("range", self.slot)]
        return lines + [("cgroup", path) for path in self.cgroups]


def read(settings: Settings, container_id: str) -> Record | None:
    """Reads a record; None when it is gone, or was not finished (then nothing was made either)."""
    return read_below(settings.runtime_dir, container_id)


def read_below(runtime: str, container_id: str) -> Record | None:
    """As `read`, where the folder of volatile state is all that is known."""
    try:
        text = status.read_file(f"{runtime}/live/{container_id}").decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    lines = [line.partition(" ") for line in text.split("\n") if line]
    values = {key: value for key, _, value in lines}
    record = Record(container_id, values.get("folder", ""))
    record.creator = values.get("creator", "")
    record.trash = values.get("trash", "")
    record.remove = "remove" in values
    record.name = values.get("name", "")
    record.slot = int(values["range"]) if "range" in values else None
    record.cgroups = [value for key, _, value in lines if key == "cgroup"]
    return record


def this_process() -> str:
    """A creator's line."""
    return f"{os.getpid()} {start_time(os.getpid())}"


def unlink(path: str) -> None:
    """Removes a file that may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def forget(settings: Settings, container_id: str) -> None:
    """Removes the record of a container that holds nothing on this machine any more."""
    unlink(f"{live_folder(settings)}/{container_id}")


def stopped(runtime: str) -> list[str]:
    """The records of containers that stand still, or may (engine/freeze.py)."""
    return [f"{folder}/{name}" for folder in (f"{runtime}/frozen", f"{runtime}/paused") for name in names_in(folder)]


def updating(runtime: str) -> list[str]:
    """Links to the folders of containers that an `update` is at, or was killed at (engine/updating.py)."""
    return [f"{runtime}/updating/{name}" for name in names_in(f"{runtime}/updating")]


def staying(runtime: str) -> list[str]:
    """Links to the folders of containers of --rm that a `restart` keeps, or has kept when it was killed (engine/restart.py)."""
    return [f"{runtime}/staying/{name}" for name in names_in(f"{runtime}/staying")]


def names_in(folder: str) -> list[str]:
    """What is in a folder of volatile state, nothing where that was not made."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
