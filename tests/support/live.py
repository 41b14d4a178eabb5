"""Containers of real Alpine that run in the background of a test, as root or as an ordinary user."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE
from tests.support.plans import comm, descendants, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.containers import Remains
    from tests.support.users import User

#: What a container does after its script: it carries out lines, until there are no more.
LOOP = """
echo ready; while read -r line; do eval "$line"; done"""


class Live:
    """An engine with IMAGE in its store. `start` leaves a container running, `stop` ends it."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.command = command
        self.environment = environment
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __call__(self, *words: str | bytes, stdin: bytes = b"", status: int | None = 0, timeout: float = 120) -> str:
        """Runs a command of the engine and returns its standard output."""
        return os.fsdecode(self.full(*words, stdin=stdin, status=status, timeout=timeout).stdout)

    def fails(self, *words: str, stdin: bytes = b"") -> str:
        """Runs a command that must fail in the engine's own words, which are returned."""
        done = self.full(*words, stdin=stdin, status=None)
        assert done.returncode != 0, (words, done)
        text = os.fsdecode(done.stderr)
        assert "Traceback" not in text, text
        assert any(line.startswith("estiba: cannot ") for line in text.splitlines()), text
        return text

    def full(
        self, *words: str | bytes, stdin: bytes = b"", status: int | None = 0, timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*self.command, *words],
            input=stdin, capture_output=True, timeout=timeout, env=self.environment, cwd=self.folder, check=False,
        )  # fmt: skip
        if status is not None:
            assert done.returncode == status, f"{words!r}: status {done.returncode}\n{os.fsdecode(done.stderr)}"
        return done

    def start(self, script: str = "true", *options: str, name: str = "box", image: str = IMAGE) -> str:
        """Starts a container that has carried out `script` when this returns, and runs until `stop`."""
        words = ["run", "--name", name, "-i", *options, image, "sh", "-c", script + LOOP]
        process = subprocess.Popen(
            [*self.command, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, cwd=self.folder,
        )  # fmt: skip
        self.running[name] = process
        assert process.stdout is not None
        try:
            read_until(process.stdout, b"ready\n")
        except AssertionError as error:
            assert process.stderr is not None
            raise AssertionError(f"{error}\n{os.fsdecode(process.stderr.read())}") from error
        return name

    def inside(self, script: str, *, name: str = "box") -> str:
        """Runs lines of shell inside the container, and returns what it prints."""
        process = self.running[name]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(script.replace("\n", "; ").encode() + b"; echo; echo ready\n")
        process.stdin.flush()
        return os.fsdecode(read_until(process.stdout, b"\nready\n")[: -len(b"\nready\n")]).removesuffix("\n")

    def stop(self, name: str = "box") -> None:
        """Ends the container's program; the container stays."""
        process = self.running.pop(name)
        process.communicate(timeout=60)

    def end(self) -> None:
        """Ends what still runs: a container's program is killed, its engine takes it away."""
        for process in self.running.values():
            for pid in descendants(process.pid) if process.poll() is None else []:
                if comm(pid) not in {"estiba-monitor", "estiba-keeper"}:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=60)
        self.running.clear()
        self("system", "prune", "-f")


@pytest.fixture
def live(environment: dict[str, str], alpine_store: Path, remains: Remains, tmp_path: Path) -> Iterator[Live]:
    """Containers of the user who runs the tests. Afterwards the store holds none."""
    engine = Live(command_under_test(), environment | {"ESTIBA_ROOT": str(alpine_store)}, tmp_path)
    yield engine
    engine.end()
    assert not remains.gone()


@pytest.fixture
def live_user(ordinary_user: User, alpine_tar: Path) -> Iterator[Live]:
    """Containers of each kind of ordinary user in turn."""
    user = ordinary_user
    launcher = user.python.with_name("estiba")
    command = [*user.prefix, *([str(launcher)] if launcher.exists() else [str(user.python), "-m", "estiba"])]
    engine = Live(command, user.environment, user.folder)
    if not any(IMAGE.partition(":")[0] in line for line in engine("images").splitlines()):
        with alpine_tar.open("rb") as tar:
            engine("import", "-", IMAGE, stdin=tar.read())
    yield engine
    engine.end()


def listing(root: Path) -> dict[str, Any]:
    """What a tree of this machine holds: path -> type, mode, and content or target."""
    found: dict[str, Any] = {}
    for folder, names, files in os.walk(os.fsencode(root)):
        for name in [*names, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = status.st_mode & 0o170000
            content: object = os.readlink(path) if kind == 0o120000 else None
            if kind == 0o100000:
                with open(path, "rb") as file:
                    content = file.read()
            found[os.fsdecode(os.path.relpath(path, os.fsencode(root)))] = (oct(status.st_mode), content)
    return found
