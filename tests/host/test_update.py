"""Other limits for containers that run or not, what they use, and who was killed for want of memory."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.test_limits import identity, value
from tests.support.containers import CPUSET, IMAGE
from tests.support.watchers import is_locked

if TYPE_CHECKING:
    from tests.support.containers import Remains
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


ASKED = {"memory": "96m", "memory-swap": "200m", "pids-limit": "70", "cpu-shares": "512", "restart": "always"}
BEFORE = {"memory": "64m", "memory-swap": "128m", "pids-limit": "80", "cpu-shares": "1024", "restart": "no"}


def flags(limits: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in limits.items()]


def limits_told(live: Live) -> dict[str, str]:
    """As `inspect` tells them."""
    found = config(live)
    return {
        "memory": f"{found['Memory'] >> 20}m", "memory-swap": f"{found['MemorySwap'] >> 20}m", "pids-limit": str(found["PidsLimit"]),
        "cpu-shares": str(found["CpuShares"]), "restart": found["RestartPolicy"]["Name"],
    }  # fmt: skip


def limits_held(live: Live, container: str) -> list[str]:
    """As the kernel has them, and whether somebody looks after the container."""
    memory = ("memory.limit_in_bytes", "memory.max")
    swap = ("memory.memsw.limit_in_bytes", "memory.swap.max", *memory)  # which not every kernel counts
    names = [memory, swap, ("pids.max",), ("cpu.shares", "cpu.weight")]
    entry = Path("/run/estiba/supervised", container)
    return [*(value(container, *files) for files in names), str(entry.exists() and is_locked(entry))]


@pytest.mark.parametrize("call", ["write", "rename", "symlink", "unlink", "mkdir"])
@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_at_each_step(live: Live, call: str, way: str) -> None:
    """Before each system call that changes something: then the next command finishes it, or nothing has happened."""
    asked, before = (ASKED, BEFORE) if way == "there" else (BEFORE, ASKED)
    live("run", "-d", "--name", "box", *flags(BEFORE), IMAGE, "sleep", "1000")  # the higher RLIMIT_NPROC, which not everybody may raise
    live("update", *flags(before), "box")
    container = identity(live)
    held_before = limits_held(live, container)
    live("update", *flags(asked), "box")
    held_asked = limits_held(live, container)
    cut = 0
    for number in itertools.count(1):
        live("update", *flags(before), "box")
        strace = ["strace", "-qq", "-o", "/dev/null", f"--inject={call}:signal=KILL:when={number}"]
        done = subprocess.run([*strace, *live.command, "update", *flags(asked), "box"], env=live.environment, capture_output=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done
        cut += 1
        if number % 2:
            live("ps")
        told = limits_told(live)
        live("ps")  # brings a supervisor back, too
        assert (told, limits_held(live, container)) in [(before, held_before), (asked, held_asked)], f"at {call} {number}"
        assert not list(Path("/run/estiba/updating").glob("*"))
    assert cut, "the command was killed at least once"
    live("rm", "-f", "box")


def test_what_was_killed_is_taken_back_where_the_kernel_refuses_it(live: Live) -> None:
    """The next command has nobody to tell of it."""
    live("run", "-d", "--name", "box", "-m", "64m", "--cpu-shares", "512", IMAGE, "sleep", "1000")
    container, before = identity(live), config(live)
    shares = value(container, "cpu.shares", "cpu.weight")
    words = ["update", "--cpu-shares", "256", "--cpuset-cpus", "4000", "box"]
    strace = ["strace", "-qq", "-o", "/dev/null", "--inject=unlink:signal=KILL:when=1"]
    done = subprocess.run([*strace, *live.command, *words], env=live.environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done
    step = Path(live.environment["ESTIBA_ROOT"], "containers", container, "update.json")
    assert step.exists()
    live("rename", "box", "new")  # takes the lock by itself
    assert not step.exists()
    assert value(container, "cpu.shares", "cpu.weight") == shares
    assert config(live, "new") == before
    live("ps")
    live("rm", "-f", "new")


def test_what_was_killed_is_finished_after_a_boot(live: Live, remains: Remains) -> None:
    live("run", "-d", "--name", "box", *flags(BEFORE), IMAGE, "sleep", "1000")
    container = identity(live)
    strace = ["strace", "-qq", "-o", "/dev/null", "--inject=rename:signal=KILL:when=3"]
    words = [*strace, *live.command, "update", *flags(ASKED), "box"]
    assert subprocess.run(words, env=live.environment, capture_output=True, check=False).returncode == -signal.SIGKILL
    live("kill", "box")
    status = os.stat(remains.root / "containers")
    for path in (remains.runtime / "updating" / container, remains.runtime / "stores" / f"{status.st_dev}-{status.st_ino}"):
        path.unlink(missing_ok=True)
    live("ps")
    assert limits_told(live) == ASKED
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
