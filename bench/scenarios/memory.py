"""What stays resident beside an idle container: keeper and monitor, by their proportional share (PSS)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engines import IMAGE, estiba
from bench.report import Result
from bench.roots import alpine_tar

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTLE_SECONDS = 1.0
LIMIT_KIB = 1024


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


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def measure(folder: Path, runs: int) -> Result:  # one reading says it: memory does not jitter
    engine = estiba(folder / "estiba")
    engine.import_tar(alpine_tar(folder), IMAGE)
    words = [*engine.words, "run", "--rm", "--network", "none", IMAGE, "sleep", "60"]
    client = subprocess.Popen(words, env=engine.environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while not any("sleep" in command_line(pid).split()[:1] for pid in descendants(client.pid)):
            if time.monotonic() > deadline:
                raise TimeoutError("the container did not start")
            time.sleep(0.05)
        time.sleep(SETTLE_SECONDS)
        result = Result("Resident beside an idle container", ["process", "PSS KiB"])
        held = {pid: proportional_kib(pid) for pid in descendants(client.pid) if not command_line(pid).startswith("sleep")}
        for pid, kib in held.items():
            result.rows.append([command_line(pid), str(kib)])
        result.rows.append(["foreground client (not counted)", str(proportional_kib(client.pid))])
    finally:
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
    total = sum(held.values())
    result.rows.append(["**keeper and monitor together**", f"**{total}**"])
    result.data = {"processes": len(held), "pss_kib": total}
    result.claims.append(("keeper and monitor under 1 MiB together", len(held) == 2 and total < LIMIT_KIB))
    return result
