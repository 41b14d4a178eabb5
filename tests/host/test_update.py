"""Other limits for containers that run or not, what they use, and who was killed for want of memory."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.test_limits import identity, value
from tests.support.containers import CPUSET, IMAGE

if TYPE_CHECKING:
    from tests.support.live import Live

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="limits are root's, or of a delegated group")


def config(live: Live, name: str = "box") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(live("inspect", name))[0]["HostConfig"]
    return found


def test_limits_of_a_running_container(live: Live) -> None:
    live("run", "-d", "--name", "box", "-m", "64m", IMAGE, "sleep", "1000")
    container = identity(live)
    assert live("update", "-m", "256m", "--memory-swap", "-1", "--cpus", "0.5", *CPUSET, "--pids-limit", "44", "box") == "box\n"
    assert value(container, "memory.limit_in_bytes", "memory.max") == str(256 << 20)
    assert value(container, "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert not CPUSET or value(container, "cpuset.cpus") == "0"
    assert value(container, "pids.max") == "44"
    live("update", "-m", "32m", "--memory-swap", "64m", "box")  # down again: the order of the files is another
    assert value(container, "memory.limit_in_bytes", "memory.max") == str(32 << 20)
    live("stop", "-t", "0", "box")
    live("start", "box")
    assert value(container, "memory.limit_in_bytes", "memory.max") == str(32 << 20)
    assert value(container, "pids.max") == "44"
    assert live("exec", "box", "sh", "-c", "ulimit -u") == "44\n"
    found = config(live)
    assert {name: found[name] for name in ("Memory", "MemorySwap", "NanoCpus", "CpusetCpus", "PidsLimit")} == {
        "Memory": 32 << 20, "MemorySwap": 64 << 20, "NanoCpus": 500_000_000, "CpusetCpus": "0" if CPUSET else "", "PidsLimit": 44,
    }  # fmt: skip
    live("rm", "-f", "box")


def test_all_or_nothing(live: Live) -> None:
    live("run", "-d", "--name", "box", "-m", "64m", "--cpu-shares", "512", IMAGE, "sleep", "1000")
    container = identity(live)
    before = config(live)
    shares = value(container, "cpu.shares", "cpu.weight")
    text = live.fails("update", "--cpu-shares", "256", "--memory-reservation", "32m", "--cpuset-cpus", "4000", "box")
    assert "cpuset.cpus" in text
    assert value(container, "cpu.shares", "cpu.weight") == shares
    assert config(live) == before
    live("rm", "-f", "box")


def test_what_cannot_be_updated(live: Live) -> None:
    live("create", "--name", "box", "-m", "64m", "--cpus", "0.5", IMAGE, "true")
    before = config(live)
    for words, message in (
        (["-m", "1g"], "--memory-swap"),
        (["--cpu-quota", "5000"], "--cpus"),
        (["-m", "5m"], "at least 6 MiB"),
        (["--restart", "maybe"], "--restart"),
        (["--cpus", "9999"], "processors"),
        ([], "nothing to change"),
    ):
        assert message in live.fails("update", *words, "box")
    assert config(live) == before


def test_more_processes_than_before(live: Live) -> None:
    """Both of its limits are raised, or the reason is told."""
    live("run", "-d", "--name", "box", "--pids-limit", "20", IMAGE, "sleep", "1000")
    done = live.full("update", "--pids-limit", "50", "box", status=None)
    if done.returncode:
        assert b"CAP_SYS_RESOURCE" in done.stderr
        assert config(live)["PidsLimit"] == 20
        live("kill", "box")
        live("update", "--pids-limit", "50", "box")
        live("start", "box")
    assert live("exec", "box", "sh", "-c", "ulimit -u") == "50\n"
    assert value(identity(live), "pids.max") == "50"
    live("rm", "-f", "box")


def test_a_limit_without_a_group(live: Live) -> None:
    """Of a container that goes with its run, in the foreground, which is given no more groups than it needs."""
    live.start("true", "--rm")
    assert "without the control group" in live.fails("update", "--cpuset-cpus", "0", "box")
    live("update", "--pids-limit", "99", "box")
    assert value(identity(live), "pids.max") == "99"


def test_restart_policy(live: Live) -> None:
    live("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    live("update", "--restart", "on-failure:3", "box")
    assert config(live)["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    live("update", "--restart", "no", "box")
    live("kill", "box")
    assert live("inspect", "-f", "{{.State.Status}}", "--type", "container", "box") == "exited\n"
    live("rm", "box")


def test_figures(live: Live) -> None:
    live("run", "-d", "--name", "box", "-m", "64m", IMAGE, "sh", "-c", "head -c 8m /dev/zero >/f; sync; while :; do :; done")
    live("run", "--name", "ended", IMAGE, "true")
    (row,) = [json.loads(line) for line in live("stats", "--no-stream", "--format", "json", "box").splitlines()]
    assert set(row) == {"BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"}
    assert (row["Name"], row["Container"], row["PIDs"], row["NetIO"]) == ("box", "box", "1", "0B / 0B")
    assert float(row["CPUPerc"].removesuffix("%")) > 0
    assert re.fullmatch(r"[0-9.]+[KM]iB / 64MiB", row["MemUsage"])
    assert re.fullmatch(r"[0-9.]+%", row["MemPerc"])
    assert live("stats", "--no-stream", "--format", "{{.Name}}").split() == ["box"]
    table = live("stats", "--no-stream", "-a").splitlines()
    assert table[0].split("  ")[0] == "CONTAINER ID"
    ended = next(line for line in table if "ended" in line)
    assert re.split(r"\s{2,}", ended)[2:] == ["0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"]
    assert "no such container" in live.fails("stats", "--no-stream", "missing")
    live("rm", "-f", "box", "ended")


def test_killed_for_want_of_memory(live: Live) -> None:
    live("run", "--name", "eater", "-m", "16m", "--memory-swap", "16m", IMAGE, "tail", "/dev/zero", status=137)
    live("run", "--name", "modest", "-m", "16m", IMAGE, "true")
    found = {entry["Name"]: entry["State"]["OOMKilled"] for entry in json.loads(live("inspect", "eater", "modest"))}
    assert found == {"/eater": True, "/modest": False}
    assert "Exited (137)" in live("ps", "-a", "-f", "name=eater")
    live("rm", "eater", "modest")
