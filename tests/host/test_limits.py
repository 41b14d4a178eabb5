"""Limits and figures of containers on the control groups of this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import CPUSET, IMAGE, groups

if TYPE_CHECKING:
    from tests.support.live import Live

#: A file of version 1, or of version 2, that each flag ends up in, and what is in there then.
FILES = [
    (["-m", "64m"], {"memory.limit_in_bytes": "67108864", "memory.max": "67108864"}),
    (["-m", "64m", "--memory-reservation", "32m"], {"memory.soft_limit_in_bytes": "33554432", "memory.low": "33554432"}),
    (["--cpus", "0.5"], {"cpu.cfs_quota_us": "50000", "cpu.max": "50000 100000"}),
    (["--cpu-quota", "20000", "--cpu-period", "40000"], {"cpu.cfs_quota_us": "20000", "cpu.max": "20000 40000"}),
    (["-c", "512"], {"cpu.shares": "512", "cpu.weight": "20"}),
    *([([*CPUSET, "--cpuset-mems", "0"], {"cpuset.cpus": "0"})] if CPUSET else []),
    (["--pids-limit", "33"], {"pids.max": "33"}),
]


def identity(live: Live, name: str = "box") -> str:
    return live("inspect", "--type", "container", "-f", "{{.Id}}", name).strip()


def value(container: str, *names: str) -> str:
    """The content of the first of these files in a container's groups."""
    for group in groups({container}):
        for name in names:
            path = Path(group, name)
            if path.exists():
                return path.read_text().strip()
    raise AssertionError(names)


@pytest.mark.skipif(os.geteuid() != 0, reason="limits are root's, or of a delegated group")
def test_each_limit_is_in_its_file(live: Live) -> None:
    words = [word for flags, _ in (FILES[1], FILES[2], *FILES[4:]) for word in flags]
    live.start("true", *words)
    container = identity(live)
    for flags, files in (*FILES[:3], *FILES[4:]):
        assert value(container, *files) in files.values(), flags
    found = json.loads(live("inspect", "box"))[0]["HostConfig"]
    assert {name: found[name] for name in ("Memory", "MemoryReservation", "NanoCpus", "CpuShares", "CpusetCpus", "PidsLimit")} == {
        "Memory": 64 << 20, "MemoryReservation": 32 << 20, "NanoCpus": 500_000_000, "CpuShares": 512, "PidsLimit": 33,
        "CpusetCpus": "0" if CPUSET else "",
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="limits are root's, or of a delegated group")
def test_quota_and_period(live: Live) -> None:
    live.start("true", *FILES[3][0])
    assert value(identity(live), *FILES[3][1]) in FILES[3][1].values()


@pytest.mark.skipif(os.geteuid() != 0, reason="limits are root's, or of a delegated group")
def test_limits_that_are_of_no_device(live: Live) -> None:
    assert "not a block device" in live.fails("run", "--rm", "--device-read-bps", "/dev/null:1mb", IMAGE, "true")
    assert "/dev/none" in live.fails("run", "--rm", "--device-write-iops", "/dev/none:1", IMAGE, "true")


@pytest.mark.skipif(os.geteuid() != 0, reason="limits are root's, or of a delegated group")
def test_parent_of_the_groups(live: Live) -> None:
    parent = f"estiba-test-{os.getpid()}"
    # Of version 1 the new folders have no processors of their own to give.
    live.start("true", "--cgroup-parent", f"{parent}/below", *CPUSET)
    found = groups({identity(live)})
    assert found
    assert not CPUSET or value(identity(live), "cpuset.cpus") == "0"
    assert all(f"/{parent}/below/" in path for path in found)
    live.stop()
    live("rm", "box")
    for path in {Path(each).parent for each in found}:
        path.rmdir()  # which shows that nothing is left in it
        path.parent.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="limits are root's, or of a delegated group")
def test_every_container_is_counted_and_leaves_nothing(live: Live) -> None:
    live("run", "-d", "--rm", "--name", "box", IMAGE, "sleep", "1000")
    container = identity(live)
    assert int(value(container, "memory.usage_in_bytes", "memory.current")) > 0
    assert int(value(container, "pids.current")) == 1
    assert value(container, "cgroup.freeze", "freezer.state") in ("0", "THAWED")
    assert value(container, "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")
    live("kill", "box")
