"""The command line on a store that is the test's alone, for tests that look at all that there is after each step."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE, Remains, groups
from tests.support.forked import Forked
from tests.support.leaks import reap
from tests.support.plans import comm, descendants, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.command import Command

POLITE = ("sh", "-c", "trap 'exit 0' TERM; touch /ready; while :; do sleep 0.02; done")
RUNNING = ("run", "-d", "--name", "box", IMAGE, *POLITE)
CREATED = ("create", "--name", "box", IMAGE, *POLITE)
WATCHERS = {"estiba-monitor", "estiba-keeper"}


class Solo:
    """The command line on a store that is the test's alone."""

    def __init__(self, estiba: Command, environment: dict[str, str], remains: Remains, folder: Path) -> None:
        self.environment = environment | {"ESTIBA_ROOT": str(remains.root)}
        self.remains = remains
        self.folder = folder
        self.estiba = estiba
        self.seen: set[str] = set()
        self.known: dict[str, tuple[str, str]] = {}

    def __call__(self, *words: str) -> str:
        done = self.fork(*words).wait()
        assert done.returncode == 0, done
        return done.stdout.strip()

    def fork(self, *words: str) -> Forked:
        return Forked(words, self.environment, self.folder)

    def begin(self, words: tuple[str, ...], prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*prefix, *command_under_test(), *words], env=self.environment, cwd=self.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def prepare(self, commands: Sequence[tuple[str, ...]]) -> None:
        for words in commands:
            told = self(*words)
            if words[0] in ("create", "run"):
                self.seen.add(told)
            if words[0] == "run":  # and its program says so
                ready = self.remains.root / "containers" / told / "upper/ready"
                until(ready.exists, "the program's trap")

    def next_command(self) -> None:
        """The command after a crash, as a user gives it."""
        assert self.estiba("ps", ESTIBA_ROOT=str(self.remains.root)).stderr == ""

    def look(self) -> str:
        """Name and state of the only container, if there is one."""
        lines = self("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}").splitlines()
        self.known = {words[0]: (words[1], words[2]) for words in map(str.split, lines)}
        self.seen |= self.known.keys()
        return ", ".join(" ".join(each) for each in self.known.values())

    def use(self, *, may_go: bool = False) -> None:
        """The containers run programs, or can be made to. One that was asked to end may do so meanwhile, but not twice; or go, as `may_go`
        says.
        """
        for name, state in list(self.known.values()):
            if not self._use(name, state):
                until(lambda: not self.look() or self.look().endswith(" exited"), "the end of what cannot be used")
                assert (may_go and not self.known) or self._use(name, "exited"), self.known

    def _use(self, name: str, state: str) -> bool:
        if state != "running" and self.fork("unpause" if state == "paused" else "start", name).wait().returncode != 0:
            return False
        return self.fork("exec", name, "true").wait().returncode == 0

    def clear(self) -> None:
        if self.known:
            self("rm", "-f", *self.known)
            self.known = {}

    def left(self) -> list[str]:
        """What there is of containers beyond those that there are, and that run. What lies in `trash` and `ingest` a command takes back that
        comes two seconds later: the end of the test shows that.
        """
        reap()
        running = {container for container, (_, state) in self.known.items() if state in ("running", "paused")}
        root = self.remains.root
        wrong = [f"folder {name}" for name in self.remains.containers() - self.known.keys()]
        names = {path.name: os.readlink(path) for path in (root / "containers/names").iterdir()}
        wrong += [f"name {name}" for name, container in names.items() if self.known.get(container, ("",))[0] != name]
        wrong += [f"record {path.name}" for path in self.remains.records if path.name not in running]
        wrong += self.remains.held_ranges(self.seen - running)
        wrong += groups(self.seen - running)
        entries = [path for folder in ("attach", "frozen", "paused", "supervised") for path in self.remains.runtime.glob(f"{folder}/*")]
        wrong += [f"entry {path}" for path in entries if path.name in self.seen - running]
        helpers = [pid for pid in descendants(os.getpid()) if comm(pid).startswith("estiba") and comm(pid) not in WATCHERS]
        return wrong + [f"process {pid} {comm(pid)}" for pid in helpers]


@pytest.fixture
def solo(estiba: Command, environment: dict[str, str], remains: Remains, tmp_path: Path) -> Iterator[Solo]:
    solo = Solo(estiba, environment, remains, tmp_path)
    yield solo
    solo.look()
    solo.clear()
    if solo("images", "-q", "local/cut"):
        solo("rmi", "local/cut")
    solo("system", "check")
    until(lambda: _is_taken_back(solo), "the next command to take back everything", 10)


def _is_taken_back(solo: Solo) -> bool:
    left = [*solo.remains.all(solo.seen), *os.listdir(solo.remains.root / "ingest")]
    if left:
        time.sleep(0.1)
        solo.look()
    return not left
