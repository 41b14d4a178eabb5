"""Containers that live on a kernel of their own: the verbs are those of every container."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test
from tests.support.kernels import EVERY_RUNG
from tests.support.plans import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.command import Command

PATIENCE_SECONDS = 20
COUNT = "cat /state; echo x >> /state; echo up; while :; do sleep 0.1; done"


@pytest.fixture
def live(estiba: Command, alpine_tar: Path, rung: tuple[str, ...]) -> Iterator[Command]:
    """`run -d` of a shell script under the name `box`."""
    estiba("import", str(alpine_tar), "alpine")

    def run(*words: str, **rest: object) -> subprocess.CompletedProcess[str]:
        at = words.index("--") if "--" in words else 0
        options, command = words[:at], words[at + 1 :] if "--" in words else words
        return estiba(
            "run", "-d", "--name", "box", *rung, *options, "alpine", *command, **rest  # type: ignore[arg-type]
        )

    yield run
    estiba("rm", "-f", "box", status=None)
    assert estiba("ps", "-aq").stdout == ""


def wait_for(estiba: Command, text: str, times: int = 1) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (said := estiba("logs", "box").stdout).count(text) < times:
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return said


def state(estiba: Command) -> dict[str, object]:
    (document,) = json.loads(estiba("inspect", "box").stdout)
    return dict(document["State"])


@EVERY_RUNG
def test_changes_survive_stop_and_start(estiba: Command, live: Command) -> None:
    live("sh", "-c", COUNT)
    wait_for(estiba, "up")
    assert "Up" in estiba("ps", "--format", "{{.Status}}").stdout
    estiba("stop", "-t", "0", "box")
    assert (state(estiba)["Status"], state(estiba)["ExitCode"]) == ("exited", 137)
    estiba("start", "box")
    wait_for(estiba, "up", 2)
    estiba("kill", "box")
    estiba("start", "box")
    assert wait_for(estiba, "up", 3).split() == ["up", "x", "up", "x", "x", "up"]


def test_signals_and_exit_code(estiba: Command, live: Command) -> None:
    live("sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")
    wait_for(estiba, "up")
    estiba("stop", "box")
    assert state(estiba)["ExitCode"] == 7
    assert estiba("logs", "box").stdout == "up\nbye\n"


def test_failure_to_start_is_the_programs(estiba: Command, live: Command) -> None:
    assert "not found in the container's PATH" in live("nosuch", status=127).stderr


def test_a_container_keeps_its_kernel(estiba: Command, live: Command, uml: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "linux"
    kernel.write_bytes(uml.read_bytes())
    live("--kernel", str(kernel), "--", "uname", "-r")
    estiba("wait", "box")
    kernel.unlink()
    estiba("image", "prune", "-f")
    assert estiba("start", "-a", "box").stdout == estiba("logs", "box").stdout.splitlines(keepends=True)[0]
    (document,) = json.loads(estiba("inspect", "box").stdout)
    assert document["HostConfig"]["Isolation"] == "para"
    assert document["HostConfig"]["Kernel"].startswith("uml ")


@EVERY_RUNG
def test_power_cut_leaves_a_disk_that_starts_again(estiba: Command, live: Command) -> None:
    live("sh", "-c", "cat /state; echo x >> /state; sync; echo up; while :; do echo $RANDOM > /file$RANDOM; done")
    wait_for(estiba, "up")
    pid = int(str(state(estiba)["Pid"]))
    os.kill(next(each for each in descendants(pid)), signal.SIGKILL)
    assert estiba("wait", "box").stdout == "125\n"
    assert "the machine ended before its program" in estiba("logs", "box").stderr
    estiba("start", "box")
    assert wait_for(estiba, "up", 2).split()[:3] == ["up", "x", "up"]


def test_a_disk_counts_what_was_written(estiba: Command, live: Command) -> None:
    """It is a file of 64 GiB, nearly all hole."""
    live("sh", "-c", "head -c 3000000 /dev/urandom > /file; sync; echo up")
    estiba("wait", "box")
    assert re.fullmatch(r"[0-9.]{1,4}MB \(virtual [0-9.]{1,4}MB\)\n", estiba("ps", "-as", "--format", "{{.Size}}").stdout)
    rows = {row["Type"]: row["Size"] for row in map(json.loads, estiba("system", "df", "--format", "json").stdout.splitlines())}
    assert rows["Containers"].endswith("MB")
    assert rows["Machine Disks"].endswith("MB")
    (document,) = json.loads(estiba("inspect", "-s", "box").stdout)
    assert 3_000_000 < document["SizeRw"] < 10_000_000


def test_attach_to_a_guest(estiba: Command, live: Command, environment: dict[str, str]) -> None:
    live("-i", "--", "sh", "-c", "echo up; read line; echo got $line; exit 3")
    wait_for(estiba, "up")
    with subprocess.Popen([*command_under_test(), "attach", "box"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        said, _ = process.communicate(b"word\n", timeout=PATIENCE_SECONDS)
    assert said == b"got word\n"
    assert process.returncode == 3
