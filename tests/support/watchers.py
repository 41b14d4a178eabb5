"""Keeper, monitor and program of a container: who they are, what they wrote, and their death at random moments."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.plans import children, comm, descendants, named, until

if TYPE_CHECKING:
    import random
    import subprocess
    import threading

    from tests.support.plans import Running

MONITOR, KEEPER = "estiba-monitor", "estiba-keeper"


def status_lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def is_locked(path: Path) -> bool:
    """Whether a keeper or a monitor lives."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def program_of(process: subprocess.Popen[bytes]) -> int:
    """The pid of the container's first process."""
    keeper = named(process, "estiba-keeper")
    found = until(lambda: [pid for pid in children(keeper) if comm(pid) not in {"estiba-keeper", "estiba-monitor"}], "the program")
    return int(found[0])


def all_processes() -> list[int]:
    """Ours: orphans come to the test process, which is their subreaper (tests/support/leaks.py)."""
    return descendants(os.getpid())


def living(name: str) -> list[int]:
    """Ours of that name (MONITOR, KEEPER), but for those that died and were not waited for."""
    return [pid for pid in all_processes() if comm(pid) == name and field(pid, "State")[:1] not in {"Z", ""}]


def field(pid: int, name: str) -> str:
    """A field of proc_pid_status(5), empty for a process that is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith(name + ":"))
    return ""


def program_child(pid: int) -> bool:
    return any(not comm(child).startswith("estiba") for child in children(pid))


def keep_killing(process: Running, name: str, chance: random.Random, times: int, stop: threading.Event) -> None:
    """Kills watchers of the name at random moments."""
    while not stop.is_set() and times > 0:
        time.sleep(chance.random() * 0.004)
        for pid in living(name)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            times -= 1


def keep_reaping(stop: threading.Event) -> None:
    """What init(1) does for orphans."""
    while not stop.is_set():
        for pid in children(os.getpid()):
            if comm(pid).startswith(("estiba-monitor", "estiba-keeper", "sh", "seq", "cat")):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)


# --- the log ---

ENTRY = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)")


def logged(path: Path, stream: bytes) -> bytes:
    """What the CRI log holds of a stream, in all its files: every line must have the format."""
    older = sorted(path.parent.glob(path.name + ".*"), key=lambda file: -int(file.suffix[1:]))
    text = b""
    for file in [*older, path]:
        content = file.read_bytes() if file.exists() else b""
        for line in content.split(b"\n")[:-1]:
            found = ENTRY.fullmatch(line)
            assert found is not None, line[:200]
            if found[1] == stream:
                text += found[3] + (b"\n" if found[2] == b"F" else b"")
        assert content == b"" or content.endswith(b"\n")
    return text
