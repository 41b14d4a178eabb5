"""Figures of processes from /proc (proc(5)): what ps(1) prints, without procps."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_PTS_MAJOR, _PTS_MAJORS = 136, 8  # Documentation/admin-guide/devices.txt
_DAY = 86400


class Kernel:
    """Where processes run: this machine's kernel. `uptime` is the seconds since its start, `pages` its memory."""

    def __init__(self) -> None:
        self.uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.pages = os.sysconf("SC_PHYS_PAGES")

    def read(self, path: str) -> bytes:
        """A file of its /proc. Raises FileNotFoundError, ProcessLookupError."""
        with open(path, "rb") as file:
            return file.read()


class OtherKernel(Kernel):
    """Another kernel, of which `files` are known by their paths; /proc/uptime and /proc/meminfo among them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files
        self.uptime = float(self.read("/proc/uptime").split()[0])
        self.pages = int(self.read("/proc/meminfo").split()[1]) // _PAGE_KIB

    def read(self, path: str) -> bytes:
        """A file that is known."""
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(path) from None


class Process:
    """One process at one moment, in the numbers of its kernel. `fields` are those of /proc/<pid>/stat, by their numbers from 1."""

    def __init__(self, pid: int, kernel: Kernel) -> None:
        folder = f"/proc/{pid}"
        self.kernel = kernel
        head, _, rest = kernel.read(f"{folder}/stat").rpartition(b")")
        self.pid = pid
        self.comm = head.partition(b"(")[2].decode("utf-8", "replace")
        self.fields = ["", "", "", *rest.decode("ascii").split()]
        words = kernel.read(f"{folder}/cmdline").rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
        self.args = words or f"[{self.comm}]"
        lines = dict(line.partition(b":")[::2] for line in kernel.read(f"{folder}/status").splitlines())
        self.uid = int(lines[b"Uid"].split()[1])
        self.gid = int(lines[b"Gid"].split()[1])

    def number(self, field: int) -> int:
        """A field of proc_pid_stat(5)."""
        return int(self.fields[field])

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time, in user mode and in the kernel."""
        return (self.number(14) + self.number(15)) / _TICKS

    @property
    def started(self) -> float:
        """Seconds since 1970."""
        return time.time() - self.elapsed

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return max(0.0, self.kernel.uptime - self.number(22) / _TICKS)


def read(pids: Sequence[int], kernel: Kernel) -> list[Process]:
    """The processes of these numbers, but for those that have ended."""
    found = []
    for pid in pids:
        try:
            found.append(Process(pid, kernel))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _user(process: Process) -> str:
    try:
        return pwd.getpwuid(process.uid).pw_name
    except KeyError:
        return str(process.uid)


def _terminal(process: Process) -> str:
    device = process.number(7) & 0xFFFFFFFF
    if device == 0:
        return "?"
    major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
    if _PTS_MAJOR <= major < _PTS_MAJOR + _PTS_MAJORS:
        return f"pts/{(major - _PTS_MAJOR << 8) + minor}"
    return f"{major}:{minor}"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    days = f"{whole // _DAY}-" if whole >= _DAY else ""
    return f"{days}{whole // 3600 % 24:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _elapsed(process: Process) -> str:
    text = _clock(process.elapsed)
    return text.removeprefix("00:")


def _start(process: Process) -> str:
    began, now = time.localtime(process.started), time.localtime()
    form = "%H:%M" if time.time() - process.started < _DAY else "%b%d" if began.tm_year == now.tm_year else "%Y"
    return time.strftime(form, began)


def _cpu(process: Process) -> float:
    return 100 * process.cpu_seconds / max(process.elapsed, 1 / _TICKS)


def _memory(process: Process) -> str:
    return f"{100 * process.number(24) / process.kernel.pages:.1f}"


#: Keywords of ps(1) -o: heading and value.
COLUMNS: dict[str, tuple[str, Callable[[Process], str]]] = {
    "args": ("COMMAND", lambda process: process.args),
    "c": ("C", lambda process: str(min(99, int(_cpu(process))))),
    "comm": ("COMMAND", lambda process: process.comm),
    "etime": ("ELAPSED", _elapsed),
    "etimes": ("ELAPSED", lambda process: str(int(process.elapsed))),
    "gid": ("GID", lambda process: str(process.gid)),
    "lstart": ("STARTED", lambda process: time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(process.started))),
    "ni": ("NI", lambda process: process.fields[19]),
    "nlwp": ("NLWP", lambda process: process.fields[20]),
    "pcpu": ("%CPU", lambda process: f"{_cpu(process):.1f}"),
    "pgid": ("PGID", lambda process: process.fields[5]),
    "pid": ("PID", lambda process: str(process.pid)),
    "pmem": ("%MEM", _memory),
    "ppid": ("PPID", lambda process: process.fields[4]),
    "rss": ("RSS", lambda process: str(process.number(24) * _PAGE_KIB)),
    "s": ("S", lambda process: process.fields[3]),
    "sid": ("SID", lambda process: process.fields[6]),
    "start": ("START", _start),
    "stime": ("STIME", _start),
    "time": ("TIME", lambda process: _clock(process.cpu_seconds)),
    "tty": ("TTY", _terminal),
    "uid": ("UID", lambda process: str(process.uid)),
    "user": ("USER", _user),
    "vsz": ("VSZ", lambda process: str(process.number(23) // 1024)),
}
ALIASES = {
    "%cpu": "pcpu", "%mem": "pmem", "cmd": "args", "command": "args", "euid": "uid", "euser": "user", "egid": "gid", "nice": "ni",
    "pgrp": "pgid", "rssize": "rss", "sess": "sid", "stat": "s", "state": "s", "thcount": "nlwp", "tname": "tty", "tt": "tty",
    "ucmd": "comm", "ucomm": "comm", "uname": "user", "vsize": "vsz", "cputime": "time", "start_time": "stime",
}  # fmt: skip
