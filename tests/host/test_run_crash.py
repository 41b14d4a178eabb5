"""`run` under kill -9 of each of its processes at random moments, many at once, and many in a row: nothing is left.

Processes of a container, outermost first: the command line (which becomes the client), the monitor, the keeper, the program. A crash
may leave what nobody lives to remove; the next command removes that.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.command import Command, command_under_test
from tests.support.containers import IMAGE, Remains
from tests.support.leaks import mounts
from tests.support.plans import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS = 30
LONGEST_SECONDS = 0.12  # a start takes about half of that; the moments are spread over it and what follows
SEED = 20


@pytest.fixture
def words(environment: dict[str, str], alpine_store: Path) -> tuple[list[str], dict[str, str]]:
    """The beginning of a command line, and its environment."""
    return [*command_under_test(), "run"], environment | {"ESTIBA_ROOT": str(alpine_store)}


@pytest.fixture
def clean(estiba: Command, alpine_store: Path, remains: Remains) -> Iterator[None]:
    """The next command takes back what crashes left."""
    yield
    deadline = time.monotonic() + 10
    while remains.all() and time.monotonic() < deadline:
        estiba("run", "--rm", IMAGE, "true", ESTIBA_ROOT=str(alpine_store))
    assert not remains.gone()


def kill_one(pids: list[int], which: int) -> bool:
    """Kills one of these processes, and tells whether there was one."""
    if which >= len(pids):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pids[which], signal.SIGKILL)
    return True


def moments() -> list[tuple[int, float]]:
    chosen = random.Random(SEED)
    return [(point % 4, chosen.uniform(0, LONGEST_SECONDS)) for point in range(POINTS)]


@pytest.mark.usefixtures("clean")
def test_kill_at_any_moment_leaves_nothing_that_the_next_command_does_not_remove(
    words: tuple[list[str], dict[str, str]], remains: Remains, alpine_store: Path, estiba: Command
) -> None:
    command, environment = words
    killed = 0
    ids: set[str] = set()
    for which, moment in moments():
        process = subprocess.Popen([*command, "--rm", IMAGE, "sh", "-c", "sleep 0.3"], env=environment, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        ids |= remains.containers()
        killed += kill_one([process.pid, *descendants(process.pid)], which)
        process.wait(timeout=30)
    assert killed >= POINTS // 4
    deadline = time.monotonic() + 10
    while remains.all(ids) and time.monotonic() < deadline:  # containers whose client was killed end by themselves
        estiba("run", "--rm", IMAGE, "true", ESTIBA_ROOT=str(alpine_store))
    assert not remains.gone(ids)


@pytest.mark.parametrize("which", [0, 1, 2, 3])
@pytest.mark.usefixtures("clean")
def test_kill_of_each_process_of_a_running_container(
    words: tuple[list[str], dict[str, str]], remains: Remains, which: int
) -> None:
    command, environment = words
    full = [*command, "--rm", "--name", f"victim{which}", IMAGE, "sh", "-c", "echo up; exec sleep 1000"]
    with subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        pids = [process.pid, *descendants(process.pid)]
        (container,) = remains.containers()
        assert kill_one(pids, min(which, len(pids) - 1))
        if which < 3:  # a container survives its client, its monitor, and its keeper
            time.sleep(0.1)
            assert pids[-1] in alive(pids)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait(timeout=30)
        assert process.returncode != 0
    deadline = time.monotonic() + 5
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pids)
    assert container


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
    return found


def test_one_of_twenty_gets_the_name(words: tuple[list[str], dict[str, str]], remains: Remains) -> None:
    command, environment = words
    full = [*command, "--rm", "-i", "--name", "wanted", IMAGE, "sh", "-c", "echo won; cat"]
    runs = [
        subprocess.Popen(full, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        for _ in range(20)
    ]
    deadline = time.monotonic() + 60
    while sum(run.poll() is None for run in runs) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    # The winner reads until now, so the name was held while every other one asked for it.
    results = [(*run.communicate(timeout=60), run.returncode) for run in runs]
    assert [out for out, _, _ in results].count(b"won\n") == 1
    assert sorted(code for _, _, code in results) == [0] + [125] * 19
    losers = [error for _, error, code in results if code]
    assert all(error.startswith(b"estiba: cannot create container wanted: the name is in use") for error in losers), losers
    assert not remains.gone()


def test_fifty_runs_leave_nothing(estiba: Command, alpine_store: Path, remains: Remains, tmp_path: Path) -> None:
    before = mounts(alpine_store)
    ids = set()
    for number in range(50):
        words = ("--cidfile", f"cid{number}", "--tmpfs", "/t", "-v", f"{tmp_path}:/x", "-m", "64m")
        estiba("run", "--rm", *words, IMAGE, "true", ESTIBA_ROOT=str(alpine_store))
        ids.add((tmp_path / f"cid{number}").read_text())
    assert len(ids) == 50
    assert not remains.gone(ids)
    assert mounts(alpine_store) == before


def test_what_lies_in_the_trash_is_removed_by_a_later_command(estiba: Command, alpine_store: Path, remains: Remains) -> None:
    """A monitor that was killed while it removed its container: nothing records that any more."""
    left = alpine_store / "trash" / "left"
    (left / "upper").mkdir(parents=True)
    deadline = time.monotonic() + 20
    while left.exists() and time.monotonic() < deadline:
        estiba("run", "--rm", IMAGE, "true", ESTIBA_ROOT=str(alpine_store))
    assert not left.exists()
    assert not remains.gone()


def test_a_store_that_was_removed_stops_nobody(estiba: Command, alpine_store: Path, remains: Remains, tmp_path: Path) -> None:
    """The record of a container whose whole store is gone is swept like any other, and its folder's absence is no failure."""
    container = "f" * 64
    gone = tmp_path / "gone"
    record = remains.runtime / "live" / container
    record.write_text(
        f"creator 1 0\nfolder {gone}/containers/{container}\nname {gone}/containers/names/lost\ntrash {gone}/trash\nremove 1\n"
    )
    estiba("run", "--rm", IMAGE, "true", ESTIBA_ROOT=str(alpine_store))
    assert not record.exists()
