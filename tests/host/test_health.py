"""Health checks of real containers: by the supervisor, for as long as the container runs, and nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import IMAGE
from tests.support.plans import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.containers import Remains

pytestmark = pytest.mark.host

OFTEN = ("--health-interval", "100ms", "--health-retries", "2")
STATUS = "{{if .State.Health}}{{.State.Health.Status}}{{end}}"


def becomes(engine: Callable[..., str], name: str, wanted: str, form: str = STATUS) -> None:
    until(lambda: engine("inspect", "-f", form, name) == wanted, f"{name} {wanted}")


def supervisor(remains: Remains, container: str) -> int:
    entry = remains.runtime / "supervised" / container
    until(lambda: len(entry.read_text().splitlines()) > 1, "a supervisor")
    return int(entry.read_text().splitlines()[1].split()[0])


def test_a_check_that_takes_too_long_is_killed(engine: Callable[..., str]) -> None:
    engine("run", "-d", "--name", "slow", *OFTEN, "--health-timeout", "200ms", "--health-cmd", "echo so far; exec sleep 1000", IMAGE, "sleep", "1000")
    becomes(engine, "slow", "unhealthy")
    log = json.loads(engine("inspect", "-f", "{{json .State.Health.Log}}", "slow"))
    assert log[0]["ExitCode"] == -1
    assert log[0]["Output"] == "Health check exceeded timeout (200ms): so far\n"


def test_a_program_that_is_not_there_is_a_failure(engine: Callable[..., str]) -> None:
    engine("run", "-d", "--name", "missing", *OFTEN, "--health-cmd", "nothing-here", IMAGE, "sleep", "1000")
    becomes(engine, "missing", "unhealthy")
    assert engine("inspect", "-f", "{{(index .State.Health.Log 0).ExitCode}}", "missing") == "127"


def test_health_of_a_container_that_goes_with_its_run(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", "--rm", "--name", "gone", *OFTEN, "--health-cmd", "true", IMAGE, "sleep", "1000")
    becomes(engine, "gone", "healthy")
    os.kill(int(engine("inspect", "-f", "{{.State.Pid}}", "gone")), signal.SIGKILL)  # behind the engine's back
    until(lambda: not (remains.runtime / "supervised" / container).exists(), "the end of the supervisor")


def test_the_next_command_starts_a_supervisor_that_was_killed(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", "--name", "watched", *OFTEN, "--health-cmd", "test -e /ok", IMAGE, "sleep", "1000")
    becomes(engine, "watched", "unhealthy")
    os.kill(supervisor(remains, container), signal.SIGKILL)
    engine("exec", "watched", "touch", "/ok")
    engine("ps")
    becomes(engine, "watched", "healthy")


def test_a_signal_that_the_program_survives_ends_no_check(engine: Callable[..., str]) -> None:
    script = "trap : TERM; echo ready; while :; do sleep 0.05; done"
    engine("run", "-d", "--name", "deaf", *OFTEN, "--health-cmd", "test -e /ok", IMAGE, "sh", "-c", script)
    until(lambda: "ready" in engine("logs", "deaf"), "the trap")
    engine("kill", "-s", "TERM", "deaf")
    becomes(engine, "deaf", "unhealthy")
    engine("exec", "deaf", "touch", "/ok")
    becomes(engine, "deaf", "healthy")


def test_check_runs_as_the_containers_user_and_cannot_be_told_apart(engine: Callable[..., str]) -> None:
    """User, variables, folder and capabilities are those of the container's own program."""
    flags = ("-u", "405:100", "-e", "WORD=x y", "-w", "/tmp", "--cap-drop", "ALL")
    engine("run", "-d", "--name", "user", *flags, *OFTEN, "--health-cmd", 'echo "$(id -u):$(id -g) $WORD $PWD"; grep CapBnd /proc/self/status', IMAGE, "sleep", "1000")
    becomes(engine, "user", "healthy")
    lines = engine("inspect", "-f", "{{(index .State.Health.Log 0).Output}}", "user").split("\n")
    assert lines[0] == "405:100 x y /tmp"
    assert set(lines[1].split()[1]) == {"0"}


def test_long_output_is_cut(engine: Callable[..., str]) -> None:
    engine("run", "-d", "--name", "long", *OFTEN, "--health-cmd", "head -c 100000 /dev/zero | tr '\\0' x", IMAGE, "sleep", "1000")
    becomes(engine, "long", "healthy")
    assert engine("inspect", "-f", "{{(index .State.Health.Log 0).Output}}", "long") == "x" * 4096 + "..."


def test_a_paused_container_is_not_checked(engine: Callable[..., str]) -> None:
    last = "{{range .State.Health.Log}}{{.End}} {{end}}"
    engine("run", "-d", "--name", "still", *OFTEN, "--health-cmd", "true", IMAGE, "sleep", "1000")
    becomes(engine, "still", "healthy")
    engine("pause", "still")
    time.sleep(0.3)  # one that was on its way stands still with the container
    before = engine("inspect", "-f", last, "still")
    time.sleep(0.5)
    assert engine("inspect", "-f", last, "still") == before
    assert engine("inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", "still") == "paused healthy"
    engine("unpause", "still")
    until(lambda: engine("inspect", "-f", last, "still") != before, "another check")
    assert engine("inspect", "-f", STATUS, "still") == "healthy"
