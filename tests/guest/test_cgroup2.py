"""Limits on a machine with cgroup version 2 alone: a User-Mode Linux guest, whatever the host has."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tests.support.bundles import BundleRuntime
from tests.support.cgroup2 import boot

if TYPE_CHECKING:
    from pathlib import Path

ESTIBA = [sys.executable, "-m", "estiba"]
READ_LIMITS = "cd /sys/fs/cgroup; cat /proc/self/cgroup memory.max cpu.max pids.max; echo 1 > pids.max"


def test_limits_hold_and_nothing_is_left(uml: Path, tmp_path: Path, alpine_tar: Path) -> None:
    run = [*ESTIBA, "run", "--rm", "--network", "none"]
    results = boot(
        uml,
        tmp_path,
        [
            ["cat", "/sys/fs/cgroup/cgroup.controllers"],
            [*ESTIBA, "import", str(alpine_tar), "image"],
            [*run, "-m", "32m", "--cpus", "0.5", "--pids-limit", "50", "image", "sh", "-c", READ_LIMITS],
            [*run, "-m", "16m", "image", "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"],
            [*run, "-m", "16m", "image", "sh", "-c", "echo within"],
            [*run, "--pids-limit", "3", "image", "sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1"],
            [*run, "--cpuset-cpus", "0", "image", "true"],
            ["find", "/sys/fs/cgroup/estiba", "-mindepth", "1", "-type", "d"],
        ],
    )
    controllers, imported, limits, eater, modest, forks, cpuset, left = results
    assert {"memory", "cpu", "pids"} <= set(controllers["out"].split())
    assert imported["code"] == 0, imported["err"]
    assert limits["out"].splitlines() == ["0::/", "33554432", "50000 100000", "50"]
    assert limits["code"] != 0, "a container may not raise its own limit"
    assert eater["code"] == 137
    assert (modest["code"], modest["out"]) == (0, "within\n")
    assert "can't fork" in forks["err"] or "annot fork" in forks["err"], forks
    assert cpuset["code"] == 125, "this guest has no cpuset controller: the request must fail"
    assert "cpuset" in cpuset["err"]
    assert left["out"] == ""


def test_life_of_a_limited_container(uml: Path, tmp_path: Path, alpine_tar: Path) -> None:
    inspect = [*ESTIBA, "inspect", "--type", "container", "-f"]
    group = "cd /sys/fs/cgroup/estiba/*/ && cat memory.max memory.swap.max cpu.max cpu.weight pids.max cgroup.freeze"
    results = boot(
        uml,
        tmp_path,
        [
            [*ESTIBA, "import", str(alpine_tar), "image"],
            [*ESTIBA, "run", "-d", "--name", "box", "--network", "none", "-m", "64m", "image", "sleep", "1000"],
            [*ESTIBA, "pause", "box"],
            [*inspect, "{{.State.Status}}", "box"],
            [*ESTIBA, "unpause", "box"],
            [*ESTIBA, "update", "-m", "96m", "--memory-swap", "-1", "--cpus", "0.5", "-c", "2", "--pids-limit", "44", "box"],
            ["sh", "-c", group],
            [*ESTIBA, "stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}} {{.CPUPerc}}", "box"],
            [*ESTIBA, "update", "--memory-reservation", "48m", "--cpuset-cpus", "0", "box"],
            [*ESTIBA, "pause", "box"],
            [*ESTIBA, "rm", "-f", "box"],
            [*ESTIBA, "run", "--name", "eater", "--network", "none", "-m", "16m", "image", "tail", "/dev/zero"],
            [*inspect, "{{.State.OOMKilled}} {{.State.ExitCode}}", "eater"],
            [*ESTIBA, "run", "--rm", "--network", "none", "--memory-swappiness", "5", "image", "true"],
            ["find", "/sys/fs/cgroup/estiba", "-mindepth", "1", "-type", "d"],
        ],
    )
    _, ran, paused, state, unpaused, updated, files, figures, refused, again, removed, eater, killed, swappiness, left = results
    assert [done["code"] for done in (ran, paused, unpaused, updated, again, removed)] == [0] * 6, results
    assert state["out"] == "paused\n"
    assert files["out"].split() == [str(96 << 20), *(["max"] if files["err"] == "" else []), "50000", "100000", "1", "44", "0"], files
    pids, used, _, limit, processor = figures["out"].split()
    assert (pids, limit) == ("1", "96MiB")
    assert used.endswith("iB")
    assert processor.endswith("%")
    assert refused["code"] != 0
    assert "cpuset" in refused["err"]
    assert (eater["code"], killed["out"]) == (137, "true 137\n")
    assert "version 2" in swappiness["err"]
    assert left["out"] == ""


def test_rules_of_devices(uml: Path, tmp_path: Path, alpine_tar: Path) -> None:
    """Of `run` and of the OCI runtime; each has a twin that may do what the other may not."""
    run = [*ESTIBA, "run", "--rm", "--network", "none"]
    script = ["image", "sh", "-c", "head -c 1 /dev/x | wc -c; echo x > /dev/x && echo written"]
    (tmp_path / "bundle").mkdir()
    bundle = BundleRuntime(tmp_path / "bundle", "box")
    bundle.shell("(: < /dev/mine) 2>&1; (: < /dev/zero) && echo zero")
    bundles = [tmp_path / "denies", tmp_path / "allows"]
    for folder, allow in zip(bundles, (False, True), strict=True):
        folder.mkdir()
        rules = [{"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "r"}]
        devices = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]
        config = bundle.config | {"linux": bundle.config["linux"] | {"devices": devices, "resources": {"devices": rules}}}
        (folder / "config.json").write_text(json.dumps(config | {"root": {"path": str(bundle.root)}}))
    runtime = [*ESTIBA, "runtime", "--root", "/run/states", "run", "--bundle"]
    results = boot(
        uml,
        tmp_path,
        [
            [*ESTIBA, "import", str(alpine_tar), "image"],
            [*run, "--device", "/dev/zero:/dev/x:r", *script],
            [*run, "--device", "/dev/zero:/dev/x:rw", *script],
            *([*runtime, str(folder), folder.name] for folder in bundles),
        ],
    )
    _, reads, writes, denied, allowed = results
    assert reads["out"] == "1\n", reads
    assert "not permitted" in reads["err"]
    assert writes["out"] == "1\nwritten\n", writes
    assert "not permitted" in denied["out"], denied
    assert denied["out"].endswith("zero\n")
    assert "not permitted" not in allowed["out"], allowed
    assert allowed["out"].endswith("zero\n")
