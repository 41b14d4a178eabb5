"""What a container uses, as its control groups count it, of either version (cgroup-v2.rst; cgroup-v1/cpuacct, memory, blkio-controller)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: From here on a limit of version 1 is none: the largest multiple of a page.
_NO_LIMIT = 1 << 62


class Usage:
    """Figures of one moment; None for one that no group of the container counts.

    `cpu` nanoseconds of processor time; `memory` bytes without the page cache that is not in use, `limit` bytes, None for no limit;
    `pids` processes and threads; `read` and `written` bytes of block devices; `oom` processes that were killed for want of memory.
    """

    __slots__ = ("cpu", "limit", "memory", "oom", "pids", "read", "written")

    def __init__(self) -> None:
        self.cpu: int | None = None
        self.memory: int | None = None
        self.limit: int | None = None
        self.pids: int | None = None
        self.read: int | None = None
        self.written: int | None = None
        self.oom = 0


def usage(groups: Iterable[str]) -> Usage:
    """Reads the figures of a container's groups, which may be going."""
    found = Usage()
    for group in groups:
        _processor(group, found)
        _memory(group, found)
        _devices(group, found)
        pids = _number(f"{group}/pids.current")
        found.pids = found.pids if pids is None else pids
        found.oom += oom_kills(group)
    return found


def oom_kills(group: str) -> int:
    """How many processes of a group the kernel has killed for want of memory."""
    return sum(_pairs(f"{group}/{name}").get("oom_kill", 0) for name in ("memory.events", "memory.oom_control"))


def _processor(group: str, found: Usage) -> None:
    nanoseconds = _number(f"{group}/cpuacct.usage")
    if nanoseconds is None:
        microseconds = _pairs(f"{group}/cpu.stat").get("usage_usec")
        nanoseconds = None if microseconds is None else microseconds * 1000
    found.cpu = found.cpu if nanoseconds is None else nanoseconds


def _memory(group: str, found: Usage) -> None:
    for used, cache, limit in (
        ("memory.usage_in_bytes", "total_inactive_file", "memory.limit_in_bytes"),
        ("memory.current", "inactive_file", "memory.max"),
    ):
        total = _number(f"{group}/{used}")
        if total is not None:
            idle = _pairs(f"{group}/memory.stat").get(cache, 0)
            found.memory = total - idle if idle < total else total  # as Docker
            most = _number(f"{group}/{limit}")
            found.limit = None if most is None or most >= _NO_LIMIT else most


def _devices(group: str, found: Usage) -> None:
    for words in _lines(f"{group}/blkio.throttle.io_service_bytes_recursive"):
        found.read, found.written = found.read or 0, found.written or 0
        if len(words) == 3:
            found.read += int(words[2]) if words[1] == "Read" else 0
            found.written += int(words[2]) if words[1] == "Write" else 0
    for words in _lines(f"{group}/io.stat"):
        values = dict(word.split("=") for word in words[1:] if word.count("=") == 1)
        found.read = (found.read or 0) + int(values.get("rbytes", 0))
        found.written = (found.written or 0) + int(values.get("wbytes", 0))


def network(pid: int) -> tuple[int, int] | None:
    """Bytes that the network namespace of a process received and sent, but for its loopback (proc_pid_net(5)); None when it is gone."""
    received = sent = 0
    try:
        for words in list(_lines(f"/proc/{pid}/net/dev", missing=True))[2:]:
            name, values = words[0].rstrip(":"), words[1:]
            if name != "lo":
                received, sent = received + int(values[0]), sent + int(values[8])
    except OSError:
        return None
    return received, sent


def _number(path: str) -> int | None:
    for words in _lines(path):
        return int(words[0]) if words[0].isdigit() else None
    return None


def _pairs(path: str) -> dict[str, int]:
    return {words[0]: int(words[1]) for words in _lines(path) if len(words) == 2 and words[1].isdigit()}


def _lines(path: str, *, missing: bool = False) -> Iterator[list[str]]:
    """The words of each line; none where the group has no such file, or is gone (ENODEV)."""
    try:
        with open(path, encoding="utf-8") as file:
            yield from (words for line in file if (words := line.split()))
    except OSError:
        if missing:
            raise
