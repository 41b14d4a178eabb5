"""The rungs: how each is called, where its bytes are on the disk, which processes it keeps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence

import estiba
from estiba.config.settings import Settings
from estiba.engine import kernel_choice, kernels, monitors
from estiba.engine.compare.report import CONTAINER, ENGINES, MACHINES
from estiba.engine.guest_disks import layer_image
from estiba.engine.save import save
from estiba.errors import InvalidArgument, Unavailable
from estiba.machine.qemu import PROGRAMS
from estiba.oci.digest import DiffID, hex_of
from estiba.store.images import find
from estiba.store.layout import Store

NAMES = (CONTAINER, *MACHINES, *ENGINES)
# Processes of engines above the program, which stay for the container's life (not the daemons, which all containers share).
_WATCHERS = ("estiba-monitor", "estiba-keeper", "containerd-shim", "conmon")


class Rung:
    """One rung of one engine. `words` precede the verb, `flags` the image."""

    def __init__(self, name: str, store: Store, words: Sequence[str], flags: Sequence[str]) -> None:
        self.name = name
        self.store = store
        self.words = list(words)
        self.flags = list(flags)
        self.image = ""

    def run(self, *command: str) -> list[str]:
        """The command line of a container in the foreground that goes with its run."""
        return [*self.words, "run", "--rm", *self.flags, self.image, *command]

    def run_kept(self, container: str, *command: str) -> list[str]:
        """The same for a container that stays: its writes reach the disk, while one that goes with its run need not bring them there."""
        return [*self.words, "run", "--name", container, *self.flags, self.image, *command]

    def call(self, *words: str) -> str:
        """Runs a verb and returns its output. Raises Unavailable with the first line of what it said."""
        try:
            done = subprocess.run(
                [*self.words, *words], capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise Unavailable(f"cannot run {self.words[0]}: {(error.strerror or 'failed').lower()}") from error
        if done.returncode != 0:
            raise failure(done.stderr, done.returncode)
        return done.stdout.strip()

    def prepare(self, image: str) -> None:
        """Makes `image` of the store known to the rung. Raises Unavailable."""
        self.image = image

    def clean(self) -> None:
        """Takes back what `prepare` did."""

    def version(self) -> str:
        """What carries the rung. Raises Unavailable."""
        raise NotImplementedError

    def places(self) -> list[str]:
        """Folders and files that hold the image's bytes for this rung."""
        raise NotImplementedError

    def programs(self) -> list[str]:
        """Folders that hold the engine's own programs, which all images share; empty where that is not known."""
        return []

    def start(self) -> str:
        """Starts a container that rests, in the background; returns its id. Raises Unavailable."""
        return self.call("run", "-d", *self.flags, self.image, "/estiba-workload", "rest").splitlines()[-1]

    def remove(self, container: str) -> None:
        """Ends a container that `start` made."""
        self.call("rm", "-f", container)

    def processes(self, container: str) -> list[int]:
        """The ids of all processes that stay for this one container. Raises Unavailable."""
        pid = int(self.call("inspect", "--format", "{{.State.Pid}}", container))
        return _descendants(_top(pid))


class Estiba(Rung):
    """A rung of this engine; `isolation` is the value of ``run --isolation``."""

    def __init__(self, store: Store, settings: Settings, isolation: str, config: str | None) -> None:
        words = [*_own_command(), *(["--config", config] if config else []), "--root", settings.root]
        chosen = [] if isolation == CONTAINER else ["--isolation", isolation]
        super().__init__(isolation, store, words, ["--network", "none", *chosen])
        self.settings = settings

    def version(self) -> str:
        """The engine, and the kernel."""
        if self.name == CONTAINER:
            return f"estiba {estiba.__version__}, Linux {os.uname().release}"
        kernel = self._kernel()
        return f"{'User-Mode Linux' if kernel.kind == kernels.UML else 'QEMU, Linux'} {kernel.release}"

    def places(self) -> list[str]:
        """The layers' folders; for a machine the disks that were made of them, and its kernel."""
        layers = find(self.store, self.image).layers
        if self.name == CONTAINER:
            return [self._tree(diff_id) for diff_id in layers]
        return [self._tree(self._kernel().layer), *(layer_image(self.store, self.settings, each) for each in layers)]

    def programs(self) -> list[str]:
        """This package, and the machine monitor's image where one carries the rung."""
        package = os.path.dirname(estiba.__file__)
        if self.name == CONTAINER or self._kernel().kind == kernels.UML:
            return [package]
        return [package, self._tree(monitors.find(self.store, self.settings, PROGRAMS[self._kernel().architecture]).layer)]

    def _kernel(self) -> kernels.Kernel:
        return kernel_choice.choose(self.store, self.settings, None, self.name)

    def _tree(self, diff_id: DiffID) -> str:
        return f"{self.store.layers}/{hex_of(diff_id)}/fs"


class Other(Rung):
    """docker or podman, whose image is made of the store's by `save` and `load`."""

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store, [name], ["--network", "none"])

    def prepare(self, image: str) -> None:
        """Loads the image. Raises Unavailable."""
        if shutil.which(self.name) is None:
            raise Unavailable(f"{self.name} is not installed")
        self.call("version")
        with tempfile.TemporaryDirectory(prefix="estiba-compare-") as folder:
            path = f"{folder}/image.tar"
            with open(path, "wb") as file:
                save(self.store, [image], file)
            self.call("load", "--input", path)
        self.image = image

    def clean(self) -> None:
        """Removes the image again."""
        if self.image:
            self.call("rmi", "--force", self.image)

    def version(self) -> str:
        """As the engine says it."""
        return self.call("--version")

    def places(self) -> list[str]:
        """The folders of its overlay driver; empty where it names none."""
        form = "{{range $key, $value := .GraphDriver.Data}}{{$key}}={{$value}}\n{{end}}"
        found: list[str] = []
        for line in self.call("image", "inspect", "--format", form, self.image).splitlines():
            key, _, value = line.partition("=")
            if key in ("LowerDir", "UpperDir"):
                found += value.split(":")
        return [path for path in found if os.path.isdir(path)]


def rungs(store: Store, settings: Settings, names: Iterable[str], config: str | None = None) -> list[Rung]:
    """The rungs of these names, in their usual order. Raises InvalidArgument for another name."""
    chosen = list(names)
    for name in chosen:
        if name not in NAMES:
            raise InvalidArgument(f"cannot compare on {name!r}: unknown rung", hint="valid values: " + ", ".join(NAMES))
    return [Other(name, store) if name in ENGINES else Estiba(store, settings, name, config) for name in NAMES if name in chosen]


def _own_command() -> list[str]:
    """The installed command, which starts the interpreter as users start it; else its slower twin."""
    beside = os.path.join(os.path.dirname(sys.executable), "estiba")
    if os.access(beside, os.X_OK):
        return [beside]
    found = shutil.which("estiba")
    return [found] if found else [sys.executable, "-m", "estiba"]


def failure(said: str, code: int) -> Unavailable:
    """What a command line that failed said first, as an error."""
    lines = said.strip().splitlines()
    return Unavailable(lines[0].removeprefix("estiba: ") if lines else f"exit code {code}")


# --- the disk and the memory -----------------------------------------------------------------------------------------------


def files_of(places: Iterable[str]) -> list[str]:
    """All regular files at and below `places`."""
    found = []
    for place in places:
        if os.path.isfile(place):
            found.append(place)
        for folder, _, names in os.walk(place):
            found += [path for name in names if os.path.isfile(path := f"{folder}/{name}") and not os.path.islink(path)]
    return found


def bytes_of(files: Iterable[str]) -> int:
    """Blocks that the files take on the disk; one with several names counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for path in files:
        status = os.stat(path, follow_symlinks=False)
        blocks[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(blocks.values())


def forget(files: Iterable[str]) -> None:
    """Drops the files from the page cache (posix_fadvise(2), POSIX_FADV_DONTNEED): of this image's only, nobody else's."""
    for path in files:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def shared_bytes(pid: int) -> int:
    """A process's memory in bytes, what it shares with others counted by its share (proc_pid_smaps(5), Pss).

    Raises EstibaError for a process of another user.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except PermissionError as error:
        raise Unavailable("memory can be read of the caller's own processes only") from error
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0


def _stat(pid: int) -> tuple[str, int]:
    """A process's name and its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            head, _, tail = file.read().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return head.partition("(")[2], int(tail.split()[1])


def _top(pid: int) -> int:
    """The highest process above `pid` that exists for its container alone."""
    while True:
        parent = _stat(pid)[1]
        if not _stat(parent)[0].startswith(_WATCHERS):
            return pid
        pid = parent


def _descendants(top: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(_stat(int(name))[1], []).append(int(name))
    found = [top]
    for pid in found:
        found += children.get(pid, [])
    return found
