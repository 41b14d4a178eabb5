"""Limits of an OCI runtime spec as files of control groups, of both versions. Pure, and on the start path of ``run``.

A *write* is a file and its value; more pairs behind them are what stands for it where the kernel lacks the first file
(one I/O scheduler's weight for another's). An empty value is the parent's.
"""

from __future__ import annotations

from estiba.errors import FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    Write = tuple[str, ...]

_UNLIMITED = -1


def version1(resources: Mapping[str, Any]) -> dict[str, list[Write]]:
    """Returns the writes of each controller of version 1 (Documentation/admin-guide/cgroup-v1); those without any are left out."""
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    return _given(
        {
            "memory": [
                ("memory.limit_in_bytes", memory.get("limit")),
                ("memory.memsw.limit_in_bytes", memory.get("swap")),
                ("memory.soft_limit_in_bytes", memory.get("reservation")),
                ("memory.swappiness", memory.get("swappiness")),
                ("memory.oom_control", 1 if memory.get("disableOOMKiller") else None),
            ],
            "pids": [("pids.max", _or_max(resources.get("pids", {}).get("limit")))],
            "cpu": [
                ("cpu.cfs_period_us", cpu.get("period")),
                ("cpu.cfs_quota_us", cpu.get("quota")),
                ("cpu.shares", cpu.get("shares")),
            ],
            "cpuset": _cpuset(cpu),
            "io": list(_blkio(resources.get("blockIO", {}))),
            "devices": _device_rules(resources.get("devices", [])),
        }
    )


def version2(resources: Mapping[str, Any]) -> dict[str, list[Write]]:
    """As `version1`, of version 2 (cgroup-v2.rst, "Controllers"), which has no rules of devices in files."""
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    limit = memory.get("limit")
    return _given(
        {
            "memory": [
                ("memory.max", _or_max(limit)),
                ("memory.swap.max", _swap(limit, memory.get("swap"))),
                ("memory.low", _or_max(memory.get("reservation"))),
                ("memory.oom.group", None if limit in (None, _UNLIMITED) else 1),
            ],
            "pids": [("pids.max", _or_max(resources.get("pids", {}).get("limit")))],
            "cpu": [("cpu.max", _cpu_max(cpu)), ("cpu.weight", _weight(cpu.get("shares")))],
            "cpuset": [("cpuset.cpus", cpu.get("cpus")), ("cpuset.mems", cpu.get("mems"))],
            "io": list(_io(resources.get("blockIO", {}))),
        }
    )


def not_in_version2(resources: Mapping[str, Any]) -> None:
    """Refuses what version 2 has no word for. Raises FailedPrecondition."""
    memory = resources.get("memory", {})
    if memory.get("swappiness") is not None:
        raise FailedPrecondition("cannot use --memory-swappiness: control groups of version 2 have no swappiness of their own")
    if memory.get("disableOOMKiller"):
        raise FailedPrecondition("cannot use --oom-kill-disable: control groups of version 2 cannot switch the out-of-memory killer off")


def _given(table: Mapping[str, Sequence[tuple[Any, ...]]]) -> dict[str, list[Write]]:
    chosen = {}
    for controller, writes in table.items():
        values = [tuple(map(str, write)) for write in writes if write[1] is not None]
        if values:
            chosen[controller] = values
    return chosen


def _or_max(limit: int | None) -> str | None:
    return None if limit is None else "max" if limit == _UNLIMITED else str(limit)


def _swap(limit: int | None, swap: int | None) -> str | None:
    """Version 2 counts swap by itself, the spec counts memory and swap together."""
    if swap is None:
        return None
    return "max" if _UNLIMITED in (swap, limit) or limit is None else str(swap - limit)


def _cpu_max(cpu: Mapping[str, Any]) -> str | None:
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota is None and period is None:
        return None
    return f"{'max' if quota in (None, _UNLIMITED) else quota} {period or 100000}"


def _weight(shares: int | None) -> int | None:
    """Version 1's 2..262144 to version 2's 1..10000, both ends and the defaults (1024 and 100, nearly) meeting."""
    return None if shares is None else 1 + (shares - 2) * 9999 // 262142


def _cpuset(cpu: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "cpus" not in cpu and "mems" not in cpu:
        return []
    # Version 1 refuses a process until both are set; the empty value is replaced by the parent's in `cgroup.apply`.
    return [("cpuset.cpus", cpu.get("cpus", "")), ("cpuset.mems", cpu.get("mems", ""))]


def _device_rules(rules: Sequence[Mapping[str, Any]]) -> list[Write]:
    """Nothing is forbidden before a rule forbids it, so that rules which only allow need no group."""
    return [] if all(rule["allow"] for rule in rules) else device_writes(rules)


def device_writes(rules: Sequence[Mapping[str, Any]]) -> list[Write]:
    """Rules of devices as lines of version 1 (cgroup-v1/devices.rst).

    There the type `a` is all devices and every access, whatever stands behind it: a rule of both types that says less becomes two.
    """
    writes: list[Write] = []
    for rule in rules:
        kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
        rest = f"{_number(rule.get('major'))}:{_number(rule.get('minor'))} {access}"
        everything = kind == "a" and rest.startswith("*:*") and len(access) == len("rwm")
        kinds = "" if kind == "p" else "a" if everything else "bc" if kind == "a" else "c" if kind == "u" else kind
        writes += [("devices.allow" if rule["allow"] else "devices.deny", f"{letter} {rest}") for letter in kinds]
    return writes


def _number(number: int | None) -> str:
    """A device's number; any where there is none, or a negative one (runtime-spec, config-linux.md#allowed-device-list)."""
    return "*" if number is None or number < 0 else str(number)


# The spec's lists of throttled devices: version 1's file, version 2's key of io.max.
_THROTTLES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}


def _blkio(block: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    weight = block.get("weight")
    yield ("blkio.bfq.weight", weight, "blkio.weight", weight)
    for device in block.get("weightDevice", ()):
        text = f"{device['major']}:{device['minor']} {device['weight']}"
        yield ("blkio.bfq.weight_device", text, "blkio.weight_device", text)
    for name, (file, _) in _THROTTLES.items():
        for device in block.get(name, ()):
            yield (file, f"{device['major']}:{device['minor']} {device['rate']}")


def _io(block: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    weight = block.get("weight")
    yield ("io.bfq.weight", weight, "io.weight", None if weight is None else f"default {_io_weight(weight)}")
    for device in block.get("weightDevice", ()):
        name, own = f"{device['major']}:{device['minor']}", device["weight"]
        yield ("io.bfq.weight", f"{name} {own}", "io.weight", f"{name} {_io_weight(own)}")
    for name, (_, key) in _THROTTLES.items():
        for device in block.get(name, ()):
            yield ("io.max", f"{device['major']}:{device['minor']} {key}={device['rate'] or 'max'}")


def _io_weight(weight: int) -> int:
    """Version 1's 10..1000 to version 2's 1..10000."""
    return 1 + (weight - 10) * 9999 // 990
