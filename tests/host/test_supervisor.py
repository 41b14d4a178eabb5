"""The supervisor of containers with a restart policy: what it does, and that nobody misses one that is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.engine.supervise import LONGEST_PAUSE, next_pause
from tests.support.containers import IMAGE, Remains

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Command

pytestmark = pytest.mark.host

CRASH = ("sh", "-c", "exit 5")


def entry(remains: Remains, container: str) -> Path:
    return remains.runtime / "supervised" / container


def supervisor(remains: Remains, container: str) -> int:
    """The pid of the container's supervisor, once it has said it."""
    deadline = time.monotonic() + 20
    while len(lines := entry(remains, container).read_text().splitlines()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(lines[1].split()[0])


def until(engine: Callable[..., str], container: str, form: str, wanted: str) -> None:
    deadline = time.monotonic() + 30
    while (found := engine("inspect", "-f", form, container)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def gone(path: Path) -> None:
    deadline = time.monotonic() + 20
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pauses_are_dockers() -> None:
    pauses = [0.0]
    for _ in range(12):
        pauses.append(next_pause(pauses[-1], 0.05))
    assert pauses[1:6] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == LONGEST_PAUSE
    assert next_pause(LONGEST_PAUSE, 10.0) == 0.1
    assert next_pause(LONGEST_PAUSE, 9.9) == LONGEST_PAUSE


def test_container_without_a_policy_has_none(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", IMAGE, "sleep", "1000")
    assert not entry(remains, container).exists()


def test_it_goes_when_it_has_nothing_to_do(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", "--restart", "on-failure", IMAGE, "true")
    gone(entry(remains, container))
    assert engine("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", container) == "exited 0"


def test_it_goes_with_the_container_that_never_ran(engine: Callable[..., str], remains: Remains) -> None:
    engine("run", "-d", "--name", "never", "--restart", "always", IMAGE, "nothing-here", status=127)
    container = engine("inspect", "-f", "{{.Id}} {{.State.Status}} {{.State.ExitCode}}", "never").split()
    assert container[1:] == ["created", "127"]
    assert "nothing-here" in engine("inspect", "-f", "{{.State.Error}}", "never")
    gone(entry(remains, container[0]))


@pytest.mark.parametrize("verb", [["stop", "-t", "0"], ["kill"], ["rm", "-f"]])
def test_it_goes_with_the_verbs_that_end_the_container(engine: Callable[..., str], remains: Remains, verb: list[str]) -> None:
    container = engine("run", "-d", "--restart", "always", IMAGE, "sleep", "1000")
    pid = supervisor(remains, container)
    engine(*verb, container)
    assert not entry(remains, container).exists()
    gone(Path(f"/proc/{pid}/fd/0"))


def test_a_signal_that_is_no_end_lets_it_come_back(engine: Callable[..., str]) -> None:
    """Docker takes every signal for a wish to stop, where the image names no stop signal; a reload would end the policy."""
    script = "trap 'exit 9' HUP; echo ready; while :; do sleep 0.05; done"
    container = engine("run", "-d", "--restart", "always", IMAGE, "sh", "-c", script)
    while "ready" not in engine("logs", container):
        time.sleep(0.05)
    engine("kill", "-s", "HUP", container)
    until(engine, container, "{{.State.Status}} {{.RestartCount}}", "running 1")


def test_the_next_command_starts_one_that_was_killed(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", "--restart", "always", IMAGE, "sh", "-c", "test -e /once && exec sleep 1000; touch /once; sleep 1")
    first = supervisor(remains, container)
    os.kill(first, signal.SIGKILL)
    time.sleep(2)  # the container has ended, and nobody was there
    assert engine("inspect", "-f", "{{.State.Status}}", container) in ("exited", "running")
    engine("ps")
    until(engine, container, "{{.State.Status}} {{.RestartCount}}", "running 1")
    assert supervisor(remains, container) != first


def test_killed_while_it_waits(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", "--restart", "always", IMAGE, *CRASH)
    until(engine, container, "{{.State.Status}} {{.RestartCount}}", "restarting 3")
    os.kill(supervisor(remains, container), signal.SIGKILL)
    gone(Path(f"/proc/{supervisor(remains, container)}/fd/0"))
    assert engine("inspect", "-f", "{{.State.Status}}", container) == "exited"
    engine("ps")
    until(engine, container, "{{.State.Status}} {{.RestartCount}}", "restarting 4")
    engine("stop", container)
    engine("ps")
    assert engine("inspect", "-f", "{{.State.Status}}", container) == "exited"
    assert not entry(remains, container).exists()


def test_a_start_while_it_waits_is_at_once(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", "--restart", "always", IMAGE, "sh", "-c", "test -e /now && exec sleep 1000; exit 1")
    until(engine, container, "{{.State.Status}} {{.RestartCount}}", "restarting 5")
    (next((remains.root / "containers").glob(f"{container}/upper")) / "now").touch()
    engine("start", container)
    assert engine("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", container) == "running 0"
    pid = engine("inspect", "-f", "{{.State.Pid}}", container)
    time.sleep(4)  # its turn would be by now
    assert engine("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", container) == f"running {pid}"


def test_a_start_that_fails_is_tried_again(engine: Callable[..., str], remains: Remains, tmp_path: Path) -> None:
    """A folder that is mounted and gone for a while, as after a boot."""
    source = tmp_path / "source"
    source.mkdir()
    container = engine("run", "-d", "--restart", "always", "-v", f"{source}:/x", IMAGE, "sh", "-c", "test -e /once && exec sleep 1000; touch /once; sleep 0.5")
    source.rename(tmp_path / "away")
    until(engine, container, "{{if .State.Error}}{{.State.Status}}{{end}}", "restarting")
    assert str(source) in engine("inspect", "-f", "{{.State.Error}}", container)
    (tmp_path / "away").rename(source)
    until(engine, container, "{{.State.Status}}{{.State.Error}}", "running")


def test_removed_by_a_command_of_another_store_is_not(engine: Callable[..., str], estiba: Command, remains: Remains) -> None:
    """Stores of one user share the folder of volatile state."""
    container = engine("run", "-d", "--restart", "always", IMAGE, "sleep", "1000")
    os.kill(supervisor(remains, container), signal.SIGKILL)
    estiba("ps")
    assert entry(remains, container).exists()
