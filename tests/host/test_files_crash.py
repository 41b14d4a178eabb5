"""kill -9 of `cp` and `commit` at random moments: nothing is left, and the container is as it was (reliability K01)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import containers, freeze, records
from estiba.linux.freezer import Freezer
from estiba.store import check, gc
from estiba.store.layout import Store
from tests.support.containers import VERSION1
from tests.support.leaks import reap
from tests.support.plans import children, comm, descendants, until
from tests.support.soak import times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.engine.containers import Container
    from tests.support.live import Live

MAKE = "i=0; mkdir /many; while [ $i -lt 300 ]; do head -c 3000 /dev/urandom > /many/$i; i=$((i+1)); done; head -c 3000000 /dev/urandom > /big"

STRIKES = len(times(6, 12))


class Victim:
    """Starts a command of the engine and kills it after a part of the time that it needs."""

    def __init__(self, live: Live, *words: str, stdin: bytes = b"") -> None:
        self.live = live
        self.words = words
        self.stdin = stdin
        began = time.monotonic()
        live(*words, stdin=stdin)
        self.duration = time.monotonic() - began
        self.dice = random.Random(repr(words))

    def strike(self) -> bool:
        """Whether it had ended before."""
        process = subprocess.Popen(
            [*self.live.command, *self.words],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.live.environment, cwd=self.live.folder,
        )  # fmt: skip
        assert process.stdin is not None
        try:
            process.stdin.write(self.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass
        time.sleep(self.dice.random() * self.duration * 1.1)
        process.kill()
        return process.wait() == 0


def helpers() -> list[int]:
    """Helpers of `cp` and `commit` that live: who was killed has left them to us, the reaper of the tests."""
    reap()
    return [pid for pid in descendants(os.getpid()) if comm(pid) in {"estiba-files", "estiba-init"}]


@pytest.mark.parametrize("_round", times(1, 20))
@pytest.mark.parametrize("state", ["running", "stopped"])
def test_cp_that_is_killed(live: Live, state: str, _round: int) -> None:
    live.start(MAKE)
    if state == "stopped":
        live.stop()
    live("cp", "box:/many", "many")
    live("cp", "box:/big", "many/big")
    before = set(helpers())
    for words in (("cp", "box:/", "out"), ("cp", "many", "box:/new")):
        victim = Victim(live, *words)
        for _ in range(STRIKES):
            victim.strike()
        until(lambda: set(helpers()) <= before, "the helpers' end")
    live("cp", "many/0", "box:/last")  # the lock is free
    live("cp", "box:/last", "last")
    assert (live.folder / "last").read_bytes() == (live.folder / "many/0").read_bytes()
    if state == "running":
        assert live.inside("wc -c < /many/0") == "3000"


@pytest.mark.parametrize("_round", times(1, 20))
@pytest.mark.parametrize("state", ["running", "stopped"])
def test_commit_that_is_killed(live: Live, state: str, _round: int) -> None:
    live.start(MAKE)
    if state == "stopped":
        live.stop()
    before = set(helpers())
    victim = Victim(live, "commit", "box", "local/victim")
    expected = live("image", "inspect", "-f", "{{json .RootFS}}", "local/victim")
    finished = 0
    for _ in range(STRIKES):
        live("rmi", "-f", "local/victim")
        finished += victim.strike()
        if live("images", "-q", "local/victim"):
            assert live("image", "inspect", "-f", "{{json .RootFS}}", "local/victim") == expected
        else:
            live("commit", "box", "local/victim")
    assert finished < STRIKES
    until(lambda: set(helpers()) <= before, "the helpers' end")
    live("rmi", "-f", "local/victim")
    settings = load(environ=live.environment)
    store = Store.open(settings)
    gc.collect(store)
    assert os.listdir(store.ingest) == []
    assert check.check(store).problems == []


# --- the freezer -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["as it is", "version 1"])
def frozen_box(request: pytest.FixtureRequest, live: Live) -> Iterator[tuple[Live, Container, Freezer]]:
    """A container that runs and counts, and the freezer of its group."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user has no freezer where no group is delegated to him")
    command = live.command
    live.command = [*VERSION1, *command] if request.param == "version 1" else command
    live.start(MAKE)
    live.command = command
    live.inside("(n=0; while :; do n=$((n+1)); echo $n > /n; mv /n /now; done) >/dev/null 2>&1 & true")
    settings = load(environ=live.environment)
    container = containers.find(Store.open(settings), "box")
    until(Path(container.folder, "upper/now").exists, "the first number")
    record = records.read(settings, container.id)
    assert record is not None
    freezer = Freezer.of(record.cgroups)
    assert freezer is not None
    yield live, container, freezer
    freezer.thaw()


def goes_on(live: Live) -> bool:
    """Whether the container's programs run."""
    return live.inside("cat /now") != live.inside("sleep 0.05; cat /now")


def test_commit_freezes_and_thaws(frozen_box: tuple[Live, Container, Freezer]) -> None:
    live, _, freezer = frozen_box
    assert live.full("commit", "box", "local/frozen").stderr == b""
    assert not freezer.is_frozen()
    assert goes_on(live)
    live("rmi", "-f", "local/frozen")


def test_it_stands_still_meanwhile(frozen_box: tuple[Live, Container, Freezer]) -> None:
    live, container, freezer = frozen_box
    settings = load(environ=live.environment)
    now = Path(container.folder, "upper/now")
    with freeze.Frozen(settings, container):
        assert freezer.is_frozen()
        first = now.read_bytes()
        time.sleep(0.1)
        assert now.read_bytes() == first
        live("cp", "box:/big", "big")  # whoever copies is not in the container's group
    assert not freezer.is_frozen()
    assert os.listdir(freeze.frozen_folder(settings)) == []
    assert goes_on(live)


def test_a_paused_container_stays_paused(frozen_box: tuple[Live, Container, Freezer]) -> None:
    live, _, freezer = frozen_box
    freezer.freeze()
    live("commit", "box", "local/paused")
    assert freezer.is_frozen()
    live("rmi", "-f", "local/paused")


@pytest.mark.parametrize("_round", times(1, 20))
def test_a_container_goes_on_when_its_commit_is_killed(frozen_box: tuple[Live, Container, Freezer], _round: int) -> None:
    live, _, freezer = frozen_box
    victim = Victim(live, "commit", "box", "local/victim")
    found_frozen = 0
    for _ in range(25):
        victim.strike()
        found_frozen += freezer.is_frozen()
        until(lambda: not freezer.is_frozen(), "the container to go on")
    assert goes_on(live)
    live("rmi", "-f", "local/victim")


def frozen_by_a_victim(live: Live) -> tuple[subprocess.Popen[bytes], int]:
    """A process that has frozen `box` and waits, and the pid of its guard."""
    import sys

    script = """
import sys, time
from estiba.config.settings import load
from estiba.engine import containers, freeze
from estiba.store.layout import Store
settings = load()
with freeze.Frozen(settings, containers.find(Store.open(settings), "box")):
    print("frozen", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=live.environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"frozen\n"
    (guard,) = children(process.pid)
    return process, guard


def test_the_guard_alone_is_enough(frozen_box: tuple[Live, Container, Freezer]) -> None:
    live, _, freezer = frozen_box
    process, _ = frozen_by_a_victim(live)
    assert freezer.is_frozen()
    process.kill()
    process.communicate()
    until(lambda: not freezer.is_frozen(), "the container to go on")


def test_without_the_guard_the_next_command_helps(frozen_box: tuple[Live, Container, Freezer]) -> None:
    """The twin: without guard the container stands still for ever, until the record of who froze it is looked at."""
    live, _, freezer = frozen_box
    settings = load(environ=live.environment)
    process, guard = frozen_by_a_victim(live)
    os.kill(guard, signal.SIGKILL)
    freeze.thaw_abandoned(settings)
    assert freezer.is_frozen(), "its maker lives"
    process.kill()
    process.communicate()
    time.sleep(0.2)
    assert freezer.is_frozen()
    freeze.thaw_abandoned(settings)
    assert not freezer.is_frozen()
    assert goes_on(live)


def test_a_container_that_cannot_be_frozen_is_told(live: Live) -> None:
    """As an ordinary user's, to whom no group is delegated."""
    live.start()
    settings = load(environ=live.environment)
    record = Path(records.live_folder(settings), containers.find(Store.open(settings), "box").id)
    text = record.read_text()
    record.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("cgroup ")))
    try:
        done = live.full("commit", "box", "local/told")
        assert b"estiba: note: the container runs on meanwhile: it has no control group that can be frozen" in done.stderr
        assert "it has no control group that can be frozen" in live.fails("commit", "--pause", "box")
        assert live.full("commit", "--no-pause", "box", "local/told").stderr == b""
    finally:
        record.write_text(text)
    live("rmi", "-f", "local/told")
