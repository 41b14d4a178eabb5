"""`events`: figures of a container from its control groups, in the words of runc's events."""

from __future__ import annotations

import os
import time

from estiba.engine.oci_runtime.cgroups import read
from estiba.engine.oci_runtime.state import State
from estiba.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def events(root: str, name: str, seconds: float | None) -> Iterator[dict[str, Any]]:
    """Yields one event of type ``stats``, and with `seconds` further ones at this distance until the container is stopped.

    An event of type ``oom`` comes for each further process that the kernel killed for want of memory. Raises NotFound, Conflict.
    """
    state = State.read(root, name)
    if state.status == "stopped":
        raise Conflict(f"cannot show events of container {name}: container is not running")
    killed = _oom_kills(state)
    while True:
        yield {"type": "stats", "id": name, "data": statistics(state)}
        if seconds is None:
            return
        time.sleep(seconds)
        now = _oom_kills(state)
        for _ in range(now - killed):
            yield {"type": "oom", "id": name}
        killed = now
        if state.status == "stopped":
            return


def statistics(state: State) -> dict[str, Any]:
    """Processor, memory, processes and disk, in nanoseconds, bytes and counts; what no control group tells is left out."""
    unified = next((path for path in state.cgroups if os.path.exists(f"{path}/cgroup.controllers")), "")
    return _version2(unified) if unified else _version1(state)


def _number(path: str) -> int:
    text = read(path)
    return int(text) if text.isdigit() else 0


def _table(path: str) -> dict[str, int]:
    """Lines `key value`."""
    rows = [line.split() for line in read(path).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _file(state: State, name: str) -> str:
    """Where the container has this file."""
    return next((f"{path}/{name}" for path in state.cgroups if os.path.exists(f"{path}/{name}")), "")


def _oom_kills(state: State) -> int:
    return max(_table(_file(state, name)).get("oom_kill", 0) for name in ("memory.oom_control", "memory.events"))


def _version1(state: State) -> dict[str, Any]:
    usage = [int(word) for word in read(_file(state, "cpuacct.usage_percpu")).split()]
    split, throttled = _table(_file(state, "cpuacct.stat")), _table(_file(state, "cpu.stat"))
    tick = 10**9 // os.sysconf("SC_CLK_TCK")
    return {
        "cpu": {
            "usage": {
                "total": _number(_file(state, "cpuacct.usage")),
                "percpu": usage,
                "kernel": split.get("system", 0) * tick,
                "user": split.get("user", 0) * tick,
            },
            "throttling": {
                "periods": throttled.get("nr_periods", 0),
                "throttledPeriods": throttled.get("nr_throttled", 0),
                "throttledTime": throttled.get("throttled_time", 0),
            },
        },
        "memory": {
            "cache": _table(_file(state, "memory.stat")).get("cache", 0),
            "usage": _memory1(state, "memory"),
            "swap": _memory1(state, "memory.memsw"),
            "raw": _table(_file(state, "memory.stat")),
        },
        "pids": _pids(_file(state, "pids.current"), _file(state, "pids.max")),
        "blkio": {"ioServiceBytesRecursive": _disk1(read(_file(state, "blkio.throttle.io_service_bytes_recursive")))},
    }


def _memory1(state: State, prefix: str) -> dict[str, int]:
    files = {"limit": "limit_in_bytes", "usage": "usage_in_bytes", "max": "max_usage_in_bytes", "failcnt": "failcnt"}
    return {key: _number(_file(state, f"{prefix}.{file}")) for key, file in files.items()}


def _pids(current: str, limit: str) -> dict[str, int]:
    return {"current": _number(current), "limit": _number(limit)}


def _disk1(text: str) -> list[dict[str, Any]]:
    rows = [line.split() for line in text.splitlines()]
    return [_disk(row[0], row[1], int(row[2])) for row in rows if len(row) == 3]


def _disk(numbers: str, operation: str, value: int) -> dict[str, Any]:
    major, minor = numbers.split(":")
    return {"major": int(major), "minor": int(minor), "op": operation, "value": value}


def _version2(path: str) -> dict[str, Any]:
    cpu, memory = _table(f"{path}/cpu.stat"), _table(f"{path}/memory.stat")
    disks = []
    for line in read(f"{path}/io.stat").splitlines():
        numbers, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        disks += [_disk(numbers, word, int(values.get(key, 0))) for key, word in (("rbytes", "Read"), ("wbytes", "Write"))]
    return {
        "cpu": {
            "usage": {
                "total": cpu.get("usage_usec", 0) * 1000,
                "kernel": cpu.get("system_usec", 0) * 1000,
                "user": cpu.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttledPeriods": cpu.get("nr_throttled", 0),
                "throttledTime": cpu.get("throttled_usec", 0) * 1000,
            },
        },
        "memory": {
            "cache": memory.get("file", 0),
            "usage": {"limit": _number(f"{path}/memory.max"), "usage": _number(f"{path}/memory.current")},
            "swap": {"limit": _number(f"{path}/memory.swap.max"), "usage": _number(f"{path}/memory.swap.current")},
            "raw": memory,
        },
        "pids": _pids(f"{path}/pids.current", f"{path}/pids.max"),
        "blkio": {"ioServiceBytesRecursive": disks},
    }
