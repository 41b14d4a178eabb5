"""`linux.resources` as files of control groups of version 1 and 2 (runtime-spec, config-linux.md#control-groups). Pure but for what a
file has now, where the order of two writes depends on it.
"""

from __future__ import annotations

import os

from estiba.errors import InvalidArgument
from estiba.linux.cgroup_files import device_writes
from estiba.linux.device_rules import DEFAULT_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from estiba.engine.oci_runtime.config import Section

    Writes = list[tuple[str, ...]]

_INT64 = (1 << 63) - 1


def version1(controllers: Sequence[str], resources: Section, path: str) -> Writes:
    """The files of the group `path` of a hierarchy of version 1."""
    makers: dict[str, Callable[[], Writes]] = {
        "memory": lambda: _memory1(resources.section("memory"), path),
        "cpu": lambda: _cpu1(resources.section("cpu"), path),
        "cpuset": lambda: _cpuset(resources.section("cpu")),
        "pids": lambda: _pids(resources),
        "blkio": lambda: _blkio(resources.section("blockIO"), path),
        "hugetlb": lambda: _hugetlb(resources, "limit_in_bytes"),
        "devices": lambda: device_writes(device_rules(resources)),
        "net_cls": lambda: _given([("net_cls.classid", resources.section("network").given("classID"))]),
        "net_prio": lambda: _priorities(resources.section("network")),
        "rdma": lambda: _rdma(resources),
    }
    return [write for name in controllers if name in makers for write in makers[name]()]


def _given(table: Iterable[tuple[str, int | str | None]]) -> Writes:
    """What is set. Engines write 0 for what is not; the specification has no other meaning for it but where `_set` is used."""
    return [(file, str(value)) for file, value in table if value not in (None, 0)]


def _set(file: str, value: int | None) -> Writes:
    return [] if value is None else [(file, str(value))]


def _integer(section: Section, key: str) -> int | None:
    return section.given(key, minimum=-1, maximum=_INT64)


def _memory1(memory: Section, path: str) -> Writes:
    limit, swap = _integer(memory, "limit"), _integer(memory, "swap")
    both = _given([("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", swap)])
    if len(both) == 2 and (swap == -1 or _now(f"{path}/memory.memsw.limit_in_bytes") < (swap or 0)):
        both.reverse()  # memory is never more than memory and swap
    if swap is not None and not os.path.exists(f"{path}/memory.memsw.limit_in_bytes"):
        both = both[:1] if limit is not None and both[0][0] == "memory.limit_in_bytes" else both[1:]
    rest = _given(
        [
            ("memory.soft_limit_in_bytes", _integer(memory, "reservation")),
            ("memory.kmem.tcp.limit_in_bytes", _integer(memory, "kernelTCP")),
            ("memory.oom_control", 1 if memory.flag("disableOOMKiller") else None),
        ]
    )
    return both + rest + _set("memory.swappiness", memory.given("swappiness"))


def _now(file: str) -> int:
    try:
        with open(file, encoding="ascii") as text:
            return int(text.read())
    except FileNotFoundError:
        return 0


def _cpu1(cpu: Section, path: str) -> Writes:
    quota, period = _integer(cpu, "quota"), cpu.given("period")
    fair = _given([("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota)])
    if len(fair) == 2 and period is not None and period < _now(f"{path}/cpu.cfs_period_us"):
        fair.reverse()  # a shorter period with the old quota may be more than the group above has
    return [
        *_given(
            [
                ("cpu.shares", cpu.given("shares")),
                ("cpu.rt_period_us", cpu.given("realtimePeriod")),
                ("cpu.rt_runtime_us", _integer(cpu, "realtimeRuntime")),
            ]
        ),
        *fair,
        *_set("cpu.cfs_burst_us", cpu.given("burst")),
        *_set("cpu.idle", _integer(cpu, "idle")),
    ]


def _cpuset(cpu: Section) -> Writes:
    return _given([("cpuset.cpus", cpu.text("cpus", "") or None), ("cpuset.mems", cpu.text("mems", "") or None)])


def _pids(resources: Section) -> Writes:
    limit = resources.section("pids").given("limit", minimum=-_INT64, maximum=_INT64)
    return [] if not limit else [("pids.max", "max" if limit < 0 else str(limit))]


def _device_numbers(section: Section) -> str:
    return f"{section.number('major')}:{section.number('minor')}"


def _blkio(block: Section, path: str) -> Writes:
    writes = []
    for prefix in ("blkio.", "blkio.bfq."):
        if os.path.exists(f"{path}/{prefix}weight"):
            leaf = [] if prefix == "blkio.bfq." else [("blkio.leaf_weight", block.given("leafWeight"))]
            writes += _given([(f"{prefix}weight", block.given("weight")), *leaf])
            for device in block.sections("weightDevice"):
                writes += _given_devices(device, prefix)
            break
    else:
        writes += _given([("blkio.weight", block.given("weight")), ("blkio.leaf_weight", block.given("leafWeight"))])
    for key, file in (
        ("throttleReadBpsDevice", "read_bps"),
        ("throttleWriteBpsDevice", "write_bps"),
        ("throttleReadIOPSDevice", "read_iops"),
        ("throttleWriteIOPSDevice", "write_iops"),
    ):
        writes += [(f"blkio.throttle.{file}_device", f"{_device_numbers(item)} {item.number('rate')}") for item in block.sections(key)]
    return writes


def _given_devices(device: Section, prefix: str) -> Writes:
    numbers = _device_numbers(device)
    return [
        (f"{prefix}{file}_device", f"{numbers} {device.number(key)}")
        for key, file in (("weight", "weight"), ("leafWeight", "leaf_weight"))
        if device.has(key)
    ]


def _hugetlb(resources: Section, file: str) -> Writes:
    return [(f"hugetlb.{item.text('pageSize')}.{file}", str(item.number("limit"))) for item in resources.sections("hugepageLimits")]


def _priorities(network: Section) -> Writes:
    return [("net_prio.ifpriomap", f"{item.text('name')} {item.number('priority')}") for item in network.sections("priorities")]


def _rdma(resources: Section) -> Writes:
    writes: Writes = []
    for name in resources.section("rdma").value:
        device = resources.section("rdma").section(name)
        words = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
        parts = [f"{word}={device.number(key)}" for key, word in words if device.has(key)]
        writes.append(("rdma.max", " ".join([name, *parts])))
    return writes


def device_rules(resources: Section) -> list[dict[str, Any]]:
    """All rules, in order; none of before is left when they begin, and whatever a bundle forbids a container has the default devices."""
    rules: list[dict[str, Any]] = [{"allow": False}]
    for rule in resources.sections("devices"):
        kind, access = rule.text("type", "a") or "a", rule.text("access", "rwm") or "rwm"
        if kind not in ("a", "b", "c", "u", "p") or not set(access) <= set("rwm"):
            raise InvalidArgument(f"cannot use {rule.what}: type {kind!r} or access {access!r} is unknown")
        major, minor = (rule.number(key, -1, minimum=-1, maximum=_INT64) for key in ("major", "minor"))
        rules.append({"allow": rule.flag("allow"), "type": kind, "major": major, "minor": minor, "access": access})
    return [*rules, *DEFAULT_RULES]


# --- version 2 -----------------------------------------------------------------------------------------------------------


def version2(resources: Section) -> Writes:
    """The files of a group of version 2. Its rules of devices are no file, but a program (`device_rules`, `device_program`)."""
    memory, cpu = resources.section("memory"), resources.section("cpu")
    limit, swap = _integer(memory, "limit"), _integer(memory, "swap")
    if swap not in (None, -1) and limit not in (None, -1):
        swap = (swap or 0) - (limit or 0)  # version 2 counts swap alone
    shares, quota, period = cpu.given("shares"), _integer(cpu, "quota"), cpu.given("period")
    writes = _given(
        [
            ("memory.max", _or_max(limit)),
            ("memory.swap.max", _or_max(swap)),
            ("memory.low", _or_max(_integer(memory, "reservation"))),
            ("cpu.weight", 1 + (shares - 2) * 9999 // 262142 if shares else None),
            ("cpu.max", f"{_or_max(quota or -1)} {period or 100000}" if quota or period else None),
        ]
    )
    writes += _set("cpu.idle", _integer(cpu, "idle")) + _set("cpu.max.burst", cpu.given("burst"))
    writes += _cpuset(cpu) + _pids(resources) + _io(resources.section("blockIO")) + _hugetlb(resources, "max") + _rdma(resources)
    for file, text in resources.words("unified").items():
        if "/" in file:
            raise InvalidArgument(f"cannot use resources.unified: {file} is not the name of a file")
        writes += [(file, line) for line in text.split("\n") if line]
    return writes


def _or_max(value: int | None) -> int | str | None:
    return "max" if value == -1 else value


def _io(block: Section) -> Writes:
    weight = block.given("weight")
    # 10..1000 of version 1 to 1..10000 of version 2.
    writes = _given([("io.weight", 1 + (weight - 10) * 9999 // 990 if weight else None)])
    for key, word in (
        ("throttleReadBpsDevice", "rbps"),
        ("throttleWriteBpsDevice", "wbps"),
        ("throttleReadIOPSDevice", "riops"),
        ("throttleWriteIOPSDevice", "wiops"),
    ):
        writes += [("io.max", f"{_device_numbers(item)} {word}={item.number('rate')}") for item in block.sections(key)]
    return writes
