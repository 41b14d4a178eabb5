"""The verbs of a container's life under kill -9 (K01) and other signals (K05) at random moments.

Nothing is lost that was told, the next command works, nothing is left, and each container is as it was or as it was asked to be.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.host.test_limits import value
from tests.support.command import command_under_test
from tests.support.containers import IMAGE, Remains, groups
from tests.support.forked import run_forked
from tests.support.leaks import reap
from tests.support.plans import comm, descendants, until
from tests.support.soak import times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.command import Command

pytestmark = [pytest.mark.host, pytest.mark.soak]

POLITE = ("sh", "-c", "trap 'exit 0' TERM; touch /ready; while :; do sleep 0.02; done")
WATCHERS = {"estiba-monitor", "estiba-keeper"}


class Case(NamedTuple):
    """A command, what is made before it, how `box` or `new` may be after it was cut off, and how it is once the command has said so."""

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...]
    after: frozenset[str]
    done: str


RUNNING = ("run", "-d", "--name", "box", IMAGE, *POLITE)
CREATED = ("create", "--name", "box", IMAGE, *POLITE)
CASES = {
    "create": Case(CREATED, (), frozenset({"", "box created"}), "box created"),
    "run": Case(RUNNING, (), frozenset({"", "box created", "box running"}), "box running"),
    "run --rm": Case(("run", "-d", "--rm", *RUNNING[2:]), (), frozenset({"", "box running"}), "box running"),
    "run --restart": Case(("run", "-d", "--restart", "always", *RUNNING[2:]), (), frozenset({"", "box created", "box running"}), "box running"),
    "start": Case(("start", "box"), (CREATED,), frozenset({"box created", "box running"}), "box running"),
    "stop": Case(("stop", "box"), (RUNNING,), frozenset({"box running", "box exited"}), "box exited"),
    "kill": Case(("kill", "box"), (RUNNING,), frozenset({"box running", "box exited"}), "box exited"),
    "restart": Case(("restart", "box"), (RUNNING,), frozenset({"box running", "box exited"}), "box running"),
    "exec": Case(("exec", "box", "true"), (RUNNING,), frozenset({"box running"}), "box running"),
    "exec -d": Case(("exec", "-d", "box", "true"), (RUNNING,), frozenset({"box running"}), "box running"),
    "pause": Case(("pause", "box"), (RUNNING,), frozenset({"box running", "box paused"}), "box paused"),
    "unpause": Case(("unpause", "box"), (RUNNING, ("pause", "box")), frozenset({"box running", "box paused"}), "box running"),
    "update": Case(("update", "-m", "96m", "--pids-limit", "77", "box"), (RUNNING,), frozenset({"box running"}), "box running"),
    "rename": Case(("rename", "box", "new"), (RUNNING,), frozenset({"box running", "new running"}), "new running"),
    "rm": Case(("rm", "box"), (CREATED,), frozenset({"box created", ""}), ""),
    "rm -f": Case(("rm", "-f", "box"), (RUNNING,), frozenset({"box running", "box exited", ""}), ""),
    "cp": Case(("cp", "box:/bin", "out"), (CREATED,), frozenset({"box created"}), "box created"),
    "commit": Case(("commit", "box", "local/cut"), (RUNNING,), frozenset({"box running"}), "box running"),
}


class Engine:
    """The command line on a store that is the test's alone."""

    def __init__(self, estiba: Command, environment: dict[str, str], remains: Remains, folder: Path) -> None:
        self.environment = environment | {"ESTIBA_ROOT": str(remains.root)}
        self.remains = remains
        self.folder = folder
        self.estiba = estiba
        self.seen: set[str] = set()
        self.known: dict[str, tuple[str, str]] = {}

    def __call__(self, *words: str) -> str:
        return run_forked(words, self.environment, self.folder).strip()

    def begin(self, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*command_under_test(), *words], env=self.environment, cwd=self.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def prepare(self, case: Case) -> None:
        for words in case.before:
            told = self(*words)
            if words in (CREATED, RUNNING):
                self.seen.add(told)
            if words == RUNNING:  # and its program says so
                ready = self.remains.root / "containers" / told / "upper/ready"
                until(ready.exists, "the program's trap")

    def duration(self, case: Case) -> float:
        """Seconds that the command takes when nobody disturbs it."""
        self.prepare(case)
        began = time.monotonic()
        self.begin(case.words).communicate()
        taken = time.monotonic() - began
        judge(self, case, told=True)
        return taken

    def next_command(self) -> None:
        """The command after a crash, as a user gives it."""
        assert self.estiba("ps", ESTIBA_ROOT=str(self.remains.root)).stderr == ""

    def look(self) -> str:
        """Name and state of the only container, if there is one."""
        lines = self("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}").splitlines()
        self.known = {words[0]: (words[1], words[2]) for words in map(str.split, lines)}
        self.seen |= self.known.keys()
        return ", ".join(" ".join(each) for each in self.known.values())

    def updated(self) -> set[bool]:
        """Whether the limits of the case "update" are there: as `inspect` tells them, and as the kernel has them."""
        container, *shown = self("inspect", "-f", "{{.Id}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "box").split()
        kernel = [value(container, "memory.limit_in_bytes", "memory.max"), value(container, "pids.max")]
        return {number == wanted for numbers in (shown, kernel) for number, wanted in zip(numbers, [str(96 << 20), "77"], strict=True)}

    def clear(self) -> None:
        if self.known:
            self("rm", "-f", *self.known)
            self.known = {}

    def left(self) -> list[str]:
        """What there is of containers beyond those that there are, and that run."""
        reap()
        running = {container for container, (_, state) in self.known.items() if state in ("running", "paused")}
        root = self.remains.root
        wrong = [f"folder {name}" for name in self.remains.containers() - self.known.keys()]
        names = {path.name: os.readlink(path) for path in (root / "containers/names").iterdir()}
        wrong += [f"name {name}" for name, container in names.items() if self.known.get(container, ("",))[0] != name]
        wrong += [f"record {path.name}" for path in self.remains.records if path.name not in running]
        wrong += [f"{folder} {path.name}" for folder in ("trash", "ingest") for path in (root / folder).iterdir()]
        wrong += self.remains.held_ranges(self.seen - running)
        wrong += groups(self.seen - running)
        helpers = [pid for pid in descendants(os.getpid()) if comm(pid).startswith("estiba") and comm(pid) not in WATCHERS]
        return wrong + [f"process {pid} {comm(pid)}" for pid in helpers]


@pytest.fixture
def engine(estiba: Command, environment: dict[str, str], remains: Remains, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(estiba, environment, remains, tmp_path)
    yield engine
    engine.look()
    engine.clear()
    if engine("images", "-q", "local/cut"):
        engine("rmi", "local/cut")
    engine("system", "check")
    assert not remains.gone(engine.seen)


def judge(engine: Engine, case: Case, *, told: bool) -> None:
    """Whatever was cut off, once it is over; `told`: the command has said that it is done."""
    allowed = {case.done} if told else case.after
    engine.next_command()
    deadline = time.monotonic() + 10
    while ((state := engine.look()) not in allowed or (left := engine.left())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state in allowed
    assert not left
    if "update" in case.words:
        assert len(engine.updated()) == 1, "all of it, or nothing"
    if "commit" in case.words and told:
        assert engine("images", "-q", "local/cut")
        engine("rmi", "local/cut")
    if state:  # it can be used
        name, standing = state.split()
        if standing != "running":
            engine("unpause" if standing == "paused" else "start", name)
        engine("exec", name, "true")
    engine.clear()


@pytest.mark.parametrize("verb", CASES)
def test_killed(engine: Engine, verb: str) -> None:
    case = CASES[verb]
    duration = engine.duration(case)
    dice = random.Random(verb)
    for _ in times(2, 500):
        engine.prepare(case)
        process = engine.begin(case.words)
        time.sleep(dice.random() * duration * 1.1)
        process.kill()
        said = process.communicate()[0]
        judge(engine, case, told=bool(said) or process.returncode == 0)


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTSTP]
CODES = {
    signal.SIGPIPE: {0, -signal.SIGPIPE},  # Python ignores it from some moment on
    signal.SIGTSTP: {0},
}


@pytest.mark.parametrize("verb", CASES)
def test_signalled(engine: Engine, verb: str) -> None:
    """The process alone, as kill(1) does, or its group, as a terminal does. Over all verbs each signal comes equally often."""
    case = CASES[verb]
    duration = engine.duration(case)
    dice = random.Random(verb)
    for turn in times(1, 200):
        number = SIGNALS[(turn + list(CASES).index(verb)) % len(SIGNALS)]
        engine.prepare(case)
        process = engine.begin(case.words)
        time.sleep(dice.random() * duration * 1.1)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if dice.random() < 0.5 else os.kill)(process.pid, number)
        if number == signal.SIGTSTP:
            time.sleep(0.05)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
        _, error = process.communicate(timeout=60)
        assert b"Traceback" not in error, error
        assert process.returncode in CODES.get(number, {0, 1, 125, -number, 128 + number}), error
        judge(engine, case, told=process.returncode == 0)
