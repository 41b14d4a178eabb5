"""After each host and e2e test nothing may be left: no process, mount, cgroup or descriptor.

The test process makes itself the reaper of its descendants (PR_SET_CHILD_SUBREAPER, prctl(2)), so a monitor that outlives
its container becomes our child and cannot hide. Namespaces live as long as a process, a mount or a descriptor holds them,
so these three cover them.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36
# Teardown of namespaces and cgroups is asynchronous in the kernel; what is there after this time stays.
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Snapshot:
    processes: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    descriptors: frozenset[str]

    def left_since(self, before: Snapshot) -> list[str]:
        return [
            f"{kind[:-1]} {item}"
            for kind in ("processes", "mounts", "cgroups", "descriptors")
            for item in sorted(getattr(self, kind) - getattr(before, kind))
            if kind != "cgroups" or is_empty(item)
        ]


def child_states() -> Iterator[tuple[int, str]]:
    """Our children, whichever of our threads has them: pid and state letter (proc_pid_stat(5))."""
    for task in Path("/proc/self/task").iterdir():
        try:
            words = (task / "children").read_text().split()
        except FileNotFoundError:
            continue  # a thread that has ended
        for word in words:
            try:
                yield int(word), Path(f"/proc/{word}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue


def children() -> frozenset[str]:
    """Our children but for zombies: `pid command`."""
    found = set()
    for pid, state in child_states():
        if state != "Z":
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.add(f"{pid} {command.strip()}")
    return frozenset(found)


def reap() -> None:
    """Reaps zombies that came to us from above: they are nobody's `Popen`."""
    known = {process.pid for process in getattr(subprocess, "_active", [])}
    for pid, state in child_states():
        if state == "Z" and pid not in known:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def mounts(folder: Path) -> frozenset[str]:
    """Mounts of our own mount namespace that touch the test's folder (proc_pid_mountinfo(5)).

    A private dockerd (bench/dockerd.py) is not a test's, and takes its mounts away itself.
    """
    marks = (str(folder), "estiba")
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return frozenset(line for line in lines if any(mark in line for mark in marks) and "/estiba-dockerd-" not in line)


def cgroups() -> frozenset[str]:
    """Cgroups of containers, whoever's. The folder `estiba` of each hierarchy, in which they are, may be another engine's that runs at this moment."""
    found: set[str] = set()
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        if "estiba" in folder:
            if "/estiba-bench-" not in folder:  # those are another engine's, being measured
                found.update(os.path.join(folder, name) for name in names)
            names.clear()  # what a container made below its own goes with it
    return frozenset(found)


def is_empty(cgroup: str) -> bool:
    """Tells whether nothing runs in it: a running container of somebody else is no leak of ours."""
    try:
        return os.path.isdir(cgroup) and not any(Path(folder, "cgroup.procs").read_text() for folder, _, _ in os.walk(cgroup))
    except OSError:
        return False  # it is being removed


def descriptors() -> frozenset[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the descriptor of this very listing
    return frozenset(found)


def snapshot(folder: Path) -> Snapshot:
    reap()
    return Snapshot(children(), mounts(folder), cgroups(), descriptors())


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Fails a host or e2e test that leaves something."""
    if request.node.get_closest_marker("host") is None and request.node.get_closest_marker("e2e") is None:
        yield
        return
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = snapshot(tmp_path)
    yield
    deadline = time.monotonic() + PATIENCE_SECONDS
    left = snapshot(tmp_path).left_since(before)
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = snapshot(tmp_path).left_since(before)
    assert not left, "left behind:\n  " + "\n  ".join(left)
