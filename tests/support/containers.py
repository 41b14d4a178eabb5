"""Containers of real Alpine for tests, and what a store and this machine still hold of them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.command import Command

IMAGE = "local/alpine:test"
PATIENCE_SECONDS = 5.0


class Remains:
    """What containers of one store hold: their folders and names, and their records in the runtime directory."""

    def __init__(self, root: Path, runtime: Path) -> None:
        self.root = root
        self.runtime = runtime

    @property
    def records(self) -> list[Path]:
        """Records of this store's containers; other stores of the same user share the folder."""
        mark = f"folder {self.root}/"
        found = []
        for path in self.runtime.glob("live/*"):
            try:
                if mark in path.read_text():
                    found.append(path)
            except FileNotFoundError:
                continue  # another store's container has ended
        return found

    def held_ranges(self, ids: set[str]) -> list[str]:
        """Id ranges that these containers hold (linux/idmap.py: links named by slot)."""
        found = []
        for path in self.runtime.glob("ranges/*"):
            try:
                if os.readlink(path) in ids:
                    found.append(str(path))
            except OSError:
                continue
        return found

    def containers(self) -> set[str]:
        folder = self.root / "containers"
        return {name for name in os.listdir(folder) if name != "names"} if folder.exists() else set()

    def all(self, ids: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
        """Everything that is left."""
        folders = [str(path) for name in ("containers/names", "trash") for path in (self.root / name).glob("*")]
        return [*sorted(self.containers()), *folders, *map(str, self.records), *self.held_ranges(ids), *groups(ids)]

    def gone(self, ids: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
        """What is left when the kernel and a monitor have had their moment."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := self.all(ids)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left


#: Runs a command where version 2 is not mounted, as on a host of version 1 alone.
VERSION1 = ["unshare", "-m", "sh", "-c", 'umount -a -t cgroup2 2>/dev/null; exec "$@"', "sh"]


#: Flags that need a controller which some kernels are built without.
CPUSET = ["--cpuset-cpus", "0"] if "cpuset" in Path("/proc/cgroups").read_text().split() else []


def groups(ids: set[str]) -> list[str]:
    """Control groups of these containers."""
    if not ids:
        return []
    return [os.path.join(folder, name) for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names if name in ids]


@pytest.fixture(scope="module")
def alpine_store(alpine_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with IMAGE, made once for a module."""
    root = tmp_path_factory.mktemp("store") / "root"
    words = [*command_under_test(), "import", "-c", 'CMD ["/bin/sh"]', str(alpine_tar), IMAGE]
    subprocess.run(words, check=True, capture_output=True, env=os.environ | {"ESTIBA_ROOT": str(root)})
    return root


@pytest.fixture
def remains(alpine_store: Path, environment: dict[str, str]) -> Remains:
    runtime = Path("/run/estiba") if os.geteuid() == 0 else Path(environment["XDG_RUNTIME_DIR"]) / "estiba"
    return Remains(alpine_store, runtime)


@pytest.fixture
def box(estiba: Command, alpine_store: Path, remains: Remains) -> Iterator[Command]:
    """`run --rm [OPTIONS] -- COMMAND` on IMAGE: words before "--" are options. Afterwards the store holds no container."""

    def run(
        *words: str, stdin: str | bytes = "", status: int | None = 0, timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        at = words.index("--") if "--" in words else 0
        options, command = words[:at], words[at + 1 :] if "--" in words else words
        return estiba(
            "run", "--rm", *options, IMAGE, *command, stdin=stdin, status=status, timeout=timeout,
            **{"ESTIBA_ROOT": str(alpine_store), **environment},
        )  # fmt: skip

    yield run
    assert not remains.gone(), "left in the store"


@pytest.fixture
def engine(estiba: Command, alpine_store: Path, remains: Remains) -> Iterator[Callable[..., str]]:
    """Runs commands on a store with IMAGE, and returns what they print; its containers and their supervisors are gone at the end."""
    def call(*words: str, status: int = 0) -> str:
        done = estiba(*words, status=status, ESTIBA_ROOT=str(alpine_store))
        return done.stdout.strip() or done.stderr.strip()

    yield call
    for container in call("ps", "-aq").split():
        call("rm", "-f", container)
    assert not remains.gone()
    mark = f"{remains.root}/"
    assert not [path for path in (remains.runtime / "supervised").glob("*") if path.read_text().startswith(mark)]
