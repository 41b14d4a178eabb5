"""What stays resident beside an idle container: keeper and monitor, and docker's shim, by their proportional share (PSS).

Four containers at once of each engine: what several share counts once, as where many run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.dockerd import PrivateDockerd, available
from bench.engines import IMAGE, call, estiba
from bench.report import Result
from bench.roots import alpine_tar

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTAINERS = 4
SETTLE_SECONDS = 1.0
LIMIT_KIB = 1024
DOCKERS_SHARE = 8  # ours is at most this fraction of docker's
SLEEP = ("--network", "none", IMAGE, "sleep", "300")


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for word in (task / "children").read_text().split():
            yield int(word)


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def proportional_kib(pid: int) -> int:
    """Pss of proc_pid_smaps_rollup(5)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise LookupError(f"no Pss for process {pid}")


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def words_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]  # it has ended


def is_shim(words: list[str], ids: list[str]) -> bool:
    return "containerd-shim" in words[0] and not set(ids).isdisjoint(words)


def start(stack: ExitStack, folder: Path) -> list[list[int]]:
    """Keeper and monitor of each container; the clients, which are not counted, stay in the background."""
    engine = estiba(folder / "estiba")
    engine.import_tar(alpine_tar(folder), IMAGE)
    found = []
    for _ in range(CONTAINERS):
        words = [*engine.words, "run", "--rm", *SLEEP]
        client = subprocess.Popen(words, env=engine.environment, stdin=subprocess.DEVNULL, start_new_session=True)
        stack.callback(client.wait)
        deadline = time.monotonic() + 10
        while not (programs := [pid for pid in descendants(client.pid) if name(pid) == "sleep"]):
            if time.monotonic() > deadline:
                raise TimeoutError("the container did not start")
            time.sleep(0.05)
        stack.callback(os.kill, programs[0], signal.SIGKILL)
        found.append([pid for pid in descendants(client.pid) if pid not in programs])
    time.sleep(SETTLE_SECONDS)
    return found


def dockers_shims(tar: Path) -> list[int]:
    """The PSS of the shim of each container."""
    with PrivateDockerd() as docker:
        call(docker.command("import", str(tar), IMAGE))
        ids = [call(docker.command("run", "--detach", *SLEEP)).strip() for _ in range(CONTAINERS)]
        time.sleep(SETTLE_SECONDS)
        shims = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_shim(words_of(pid), ids)]
        kib = [proportional_kib(pid) for pid in shims]
        call(docker.command("rm", "--force", *ids))
    if len(kib) != CONTAINERS:
        raise LookupError(f"{len(kib)} shims for {CONTAINERS} containers")
    return kib


def measure(folder: Path, runs: int) -> Result:  # one reading says it: memory does not jitter
    result = Result("Resident beside an idle container", ["process", "PSS KiB"])
    with ExitStack() as stack:
        held = [{name(pid): proportional_kib(pid) for pid in pids} for pids in start(stack, folder)]
    total = sum(sum(processes.values()) for processes in held) / CONTAINERS
    for process in sorted(held[0]):
        result.rows.append([process, f"{sum(each[process] for each in held) / CONTAINERS:.0f}"])
    result.rows.append(["**keeper and monitor together**", f"**{total:.0f}**"])
    result.data = {"containers": CONTAINERS, "processes": len(held[0]), "pss_kib": total}
    result.claims.append(("keeper and monitor under 1 MiB together", len(held[0]) == 2 and total < LIMIT_KIB))
    if available():
        shim = sum(dockers_shims(alpine_tar(folder))) / CONTAINERS
        result.rows.append(["docker's containerd-shim-runc-v2", f"{shim:.0f}"])
        result.data["docker_pss_kib"] = shim
        result.claims.append((f"at most 1/{DOCKERS_SHARE} of docker's shim", total * DOCKERS_SHARE <= shim))
    return result
