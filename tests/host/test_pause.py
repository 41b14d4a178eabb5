"""Containers that stand still, by the freezer of either version, and those that held them being killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.linux.freezer import Freezer
from tests.support.containers import IMAGE, VERSION1, groups
from tests.support.plans import until

if TYPE_CHECKING:
    from tests.support.live import Live

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no freezer where no group is delegated to him")

def state(live: Live, name: str = "box") -> str:
    return live("inspect", "--type", "container", "-f", "{{.State.Status}}", name).strip()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def freezer(live: Live, name: str = "box") -> Freezer:
    container = live("inspect", "--type", "container", "-f", "{{.Id}}", name).strip()
    found = Freezer.of(sorted(groups({container}), reverse=True))
    assert found is not None
    return found


@pytest.fixture(params=["as it is", "version 1"])
def box(live: Live, request: pytest.FixtureRequest) -> Live:
    """With the container `box`, which ends with 7 when it is asked to."""
    prefix = VERSION1 if request.param == "version 1" else []
    words = [*prefix, *live.command, "run", "-d", "--name", "box", IMAGE, "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"]
    done = subprocess.run(words, env=live.environment, check=False, capture_output=True)
    assert done.returncode == 0, done
    if prefix and any(line.split(" ")[2] == "cgroup" for line in Path("/proc/self/mounts").read_text().splitlines()):
        assert freezer(live).control.endswith("freezer.state"), "the test is of version 1"
    return live


def test_pause_stop_and_rm(box: Live) -> None:
    for _ in range(2):
        box("pause", "box")
        assert state(box) == "paused"
        box("unpause", "box")
        assert state(box) == "running"
    box("pause", "box")
    box("stop", "box")
    assert box("inspect", "--type", "container", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box").split() == ["exited", "7"]
    box("start", "box")
    assert state(box) == "running", "what held the run before does not count"
    box("pause", "box")
    box("rm", "-f", "box")


def test_frozen_by_somebody_else(box: Live) -> None:
    """Nobody told the engine, so it is asked in vain; but it ends (reliability H03)."""
    freezer(box).freeze()
    began = time.monotonic()
    box("stop", "-t", "1", "box")
    assert time.monotonic() - began < 30, "not the patience of a process that cannot be killed"
    assert box("inspect", "--type", "container", "-f", "{{.State.ExitCode}}", "box").strip() == "137"
    box("start", "box")
    freezer(box).freeze()
    box("rm", "-f", "box")


def test_pause_that_is_killed(live: Live) -> None:
    """The container is as it was, or as it was asked to be, and takes any verb."""
    live("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    dice = random.Random(5)
    began = time.monotonic()
    live("pause", "box")
    duration = time.monotonic() - began
    live("unpause", "box")
    for _ in range(8):
        process = subprocess.Popen(
            [*live.command, "pause", "box"], env=live.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(dice.random() * duration * 1.1)
        process.kill()
        process.wait()
        live("ps")
        found = state(live)
        assert found in ("running", "paused")
        assert freezer(live).is_frozen() is (found == "paused")
        if found == "paused":
            live("unpause", "box")
    live("rm", "-f", "box")


def test_watchers_that_are_killed_while_it_is_paused(box: Live) -> None:
    """The next command ends the program, though a freezer of version 1 keeps it from dying."""
    box("pause", "box")
    pid = int(box("inspect", "--type", "container", "-f", "{{.State.Pid}}", "box"))
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    monitor = int(Path(f"/proc/{keeper}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(monitor, signal.SIGSTOP)  # so that it does not see the keeper's end
    os.kill(keeper, signal.SIGKILL)
    os.kill(monitor, signal.SIGKILL)
    until(lambda: box("ps") is not None and state(box) == "exited" and not is_alive(pid), "the sweep")
    box("rm", "box")


def test_a_store_that_is_gone_is_swept(live: Live, tmp_path: Path) -> None:
    """Whose records cannot say which program there was: its groups can."""
    live("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    pid = int(live("inspect", "--type", "container", "-f", "{{.State.Pid}}", "box"))
    container = live("inspect", "--type", "container", "-f", "{{.Id}}", "box").strip()
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    monitor = int(Path(f"/proc/{keeper}/stat").read_text().rpartition(")")[2].split()[1])
    folder = Path(live.environment["ESTIBA_ROOT"], "containers", container)
    folder.rename(tmp_path / "away")
    os.kill(monitor, signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    os.kill(monitor, signal.SIGKILL)
    until(lambda: not live("ps", "-q") and not groups({container}), "the sweep")
    (folder.parent / "names" / "box").unlink(missing_ok=True)


def test_where_there_is_nothing_to_hold_it(live_user: Live) -> None:
    live_user("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    assert "cannot pause container box: it has no control group that can be frozen: " in live_user.fails("pause", "box")
    live_user("rm", "-f", "box")
