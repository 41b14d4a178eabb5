"""Drives `estiba-init run` with plans of a few operations: busybox is the image, and there is no store and no engine."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from estiba.plan import ops
from estiba.plan.encode import encode
from estiba.plan.helper import helper_path, plan_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from estiba.plan.ops import Op

HELPER = os.environ.get("ESTIBA_TEST_HELPER") or helper_path()
SOURCES = Path(__file__).parents[2] / "helper"
FALLBACKS = str(SOURCES / "build" / "estiba-init-fallbacks")
REPORTS = SOURCES / "build" / "reports"
SANITIZED = str(SOURCES / "build" / "estiba-init-sanitize")

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
ALL_NAMESPACES = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_* (mount_setattr(2))
NO_SLOT = 0xFFFFFFFF
NULL, PIPES, TERMINAL = 0, 1, 2
EVERY_CAPABILITY = 0x1FFFFFFFFFF
FIRST_ID = 700_000_000  # a range that no user of a machine has
ENVIRONMENT = ["PATH=/bin:/usr/bin", "TERM=dumb"]

STANDARD: tuple[Op, ...] = (
    ops.mount("proc", "/proc", NOSUID | NODEV | NOEXEC, []),
    ops.mount("tmpfs", "/dev", NOSUID, ["mode=755", "size=65536k"]),
    *(ops.host_bind(f"/dev/{name}", f"/dev/{name}", NOSUID | NOEXEC, 0) for name in ("null", "zero", "full", "urandom")),
    ops.symlink("/proc/self/fd", "/dev/fd"),
    ops.symlink("/proc/self/fd/0", "/dev/stdin"),
    ops.symlink("/proc/self/fd/1", "/dev/stdout"),
    ops.symlink("/proc/self/fd/2", "/dev/stderr"),
    ops.mount("devpts", "/dev/pts", NOSUID | NOEXEC, ["newinstance", "ptmxmode=0666", "mode=0620"]),
    ops.symlink("pts/ptmx", "/dev/ptmx"),
)


class Running(subprocess.Popen[bytes]):
    """The helper's client. A test that fails does not wait for a container that nobody ends."""

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is not None:
            self.destroy()
        super().__exit__(kind, value, traceback)

    def destroy(self) -> None:
        for pid in [self.pid, *descendants(self.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Container:
    """A plan in the making. What a test does not change is a container of all namespaces on one layer, with pipes."""

    def __init__(self, layers: Path, upper: Path | None) -> None:
        self.helper = HELPER
        self.prefix: list[str] = []
        self.opened: list[int] = []
        self.slots: list[Op] = []
        self.idmapped: list[Op] = []
        root = os.geteuid() == 0
        self.uid_map = [f"0 {FIRST_ID} 65536"] if root else [f"0 {os.geteuid()} 1"]
        self.gid_map = [f"0 {FIRST_ID} 65536"] if root else [f"0 {os.getegid()} 1"]
        self.setgroups = int(root)
        self.map_programs = ("", "")
        self.namespaces = ALL_NAMESPACES
        self.kind = PIPES
        self.stdin = 0
        self.window = (0, 0)
        self.attached = 1
        self.signal_proxy = 1
        self.host: list[Op] = []
        self.client: list[Op] = []
        self.lowers = ["base"]
        self.layers = self.tree(layers, idmap=root)
        self.upper = NO_SLOT if upper is None else self.tree(upper, idmap=root)
        self.root: Op | None = None
        self.file_systems: list[Op] = list(STANDARD)
        self.identity: list[Op] = [ops.bounding(EVERY_CAPABILITY), ops.user("0", [], 0o022, 1)]
        self.directory = "/"
        self.init = False
        self.after: list[Op] = []

    def slot(self, descriptor: int, path: str = "") -> int:
        """Binds the next slot to a descriptor, which is the container's from now on."""
        self.opened.append(descriptor)
        self.slots.append(ops.slot(len(self.slots), descriptor, path))
        return len(self.slots) - 1

    def tree(self, path: Path, *, idmap: bool, recursive: bool = True) -> int:
        number = self.slot(os.open(path, os.O_PATH), str(path))
        if idmap:
            self.idmapped.append(ops.idmap(number, int(recursive)))
        return number

    def file(self, path: Path, flags: int = os.O_RDWR | os.O_CREAT | os.O_APPEND) -> int:
        return self.slot(os.open(path, flags, 0o600))

    def log(self, path: Path, max_size: int = 0, max_files: int = 1) -> None:
        folder = self.slot(os.open(path.parent, os.O_PATH))
        self.host.append(ops.log(folder, path.name, max_size, max_files))

    def status(self, path: Path) -> None:
        self.host.append(ops.status(self.file(path)))

    def listen(self, folder: Path, name: str) -> None:
        self.host.append(ops.listen(self.slot(os.open(folder, os.O_PATH)), name))

    def ops(self, words: Sequence[str | bytes], environment: Sequence[str | bytes]) -> list[Op]:
        user = [] if not self.uid_map else [ops.user_namespace(self.uid_map, self.gid_map, self.setgroups, *self.map_programs)]
        return [
            *self.slots,
            *user,
            ops.namespaces(self.namespaces),
            *self.idmapped,
            ops.streams(self.kind, self.stdin, *self.window),
            ops.client(self.attached, self.signal_proxy),
            *self.client,
            *self.host,
            self.root or ops.overlay(self.layers, self.lowers, self.upper, 1, 0),
            *self.file_systems,
            *([ops.console()] if self.kind == TERMINAL else []),
            ops.pivot(),
            ops.working_directory(self.directory),
            *self.identity,
            *([ops.init()] if self.init else []),
            ops.execute(words, environment),
            *self.after,
        ]

    def attach(self, folder: Path, name: str, **streams: Any) -> Running:
        """Attaches another client to a container that `listen`s, with the streams of this one."""
        slots = [ops.slot(0, os.open(folder, os.O_PATH), "")]
        plan = [*slots, ops.connect(0, name), ops.streams(self.kind, self.stdin, 0, 0), ops.client(1, self.signal_proxy), *self.client]
        return self._spawn("attach", plan, [int(slots[0][2])], streams)  # type: ignore[arg-type]

    def start(self, *words: str | bytes, environment: Sequence[str | bytes] = ENVIRONMENT, **streams: Any) -> Running:
        """Starts the helper; `streams` as subprocess.Popen takes them, pipes where they are not given."""
        return self._spawn("run", self.ops(words, environment), self.opened, streams)

    def _spawn(self, command: str, ops: Sequence[Op], opened: list[int], streams: dict[str, Any]) -> Running:
        plan = plan_descriptor(encode(ops))
        for name in ("stdin", "stdout", "stderr"):
            streams.setdefault(name, subprocess.PIPE)
        try:
            return Running([*self.prefix, self.helper, command, str(plan)], pass_fds=[plan, *opened], env={}, **streams)
        finally:
            os.close(plan)
            while opened:
                os.close(opened.pop())

    def run(self, *words: str | bytes, stdin: bytes = b"", timeout: float = 60, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Runs it to its end."""
        self.stdin = self.stdin or int(bool(stdin))
        with self.start(*words, **more) as process:
            out, err = process.communicate(stdin, timeout=timeout)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def close(self) -> None:
        while self.opened:
            os.close(self.opened.pop())


def make_image(folder: Path) -> Path:
    """A layer `base` of Debian's static busybox under `folder`, which is returned."""
    base = folder / "base"
    for name in ("bin", "dev", "etc", "proc", "tmp", "usr/bin", "root"):
        (base / name).mkdir(parents=True)
    (base / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", base / "bin" / "busybox")
    for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (base / "bin" / applet).symlink_to("busybox")
    (base / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n")
    (base / "etc" / "group").write_text("root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n")
    return folder


@pytest.fixture(scope="session")
def busybox() -> Iterator[Path]:
    """The folder of layers, which holds `base`. Nobody writes to it."""
    folder = Path(tempfile.mkdtemp(prefix="helper-test-layers-"))
    folder.chmod(0o755)
    yield make_image(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def sanitized() -> Iterator[str]:
    """The helper with sanitizers. What they find in a process that nobody waits for is a report, and fails the module's last test."""
    subprocess.run(["make", "-s", "-C", str(SOURCES), "sanitize"], check=True)
    yield SANITIZED
    found = list(REPORTS.iterdir())
    text = "\n".join(path.read_text(errors="replace") for path in found)
    for path in found:
        path.unlink()
    assert not found, text


@pytest.fixture
def container(busybox: Path, tmp_path: Path) -> Iterator[Container]:
    made = Container(busybox, upper_in(tmp_path))
    yield made
    made.close()


def upper_in(folder: Path) -> Path:
    upper = folder / "container"
    (upper / "upper").mkdir(parents=True)
    (upper / "work").mkdir()
    (upper / "upper").chmod(0o755)
    (upper / "name").symlink_to("entry")
    return upper


# --- looking at what runs --------------------------------------------------------------------------------------------------


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [deeper for child in found for deeper in descendants(child)]


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> Any:
    """Waits for the condition to become true and returns its value; the limit is only for what never comes."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.002)
    return value


def named(process: subprocess.Popen[bytes], name: str) -> int:
    """The pid of the descendant of the client whose name it is (`estiba-monitor`, `estiba-keeper`)."""
    found = until(lambda: [pid for pid in descendants(process.pid) if comm(pid) == name], name)
    assert isinstance(found, list)
    return int(found[0])


def read_until(stream: Any, text: bytes) -> bytes:
    """Reads from a pipe or terminal until `text` came; returns all that came."""
    descriptor = stream if isinstance(stream, int) else stream.fileno()
    got = b""
    while text not in got:
        assert select.select([descriptor], [], [], 30)[0], f"waited for {text!r}, got {got!r}"
        more = os.read(descriptor, 65536)
        assert more, f"the stream ended before {text!r}: {got!r}"
        got += more
    return got
