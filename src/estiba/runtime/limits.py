"""Limits of a container: what `run` and `update` were asked for -> `linux.resources` of the OCI runtime spec (config-linux.md). Pure.

Block devices and devices are named by `path` here; the engine, which may look, replaces it by their numbers (engine/devices.py).
On the start path of ``run``.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument
from estiba.runtime.parse_limits import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiba.linux.facts import HostFacts
    from estiba.runtime.options import RunOptions

    Spec = dict[str, Any]

PIDS_LIMIT = 2048
_PERIOD = 100000
#: The spec's member of blockIO for each --device-* flag.
_THROTTLES = {
    "device-read-bps": "throttleReadBpsDevice",
    "device-write-bps": "throttleWriteBpsDevice",
    "device-read-iops": "throttleReadIOPSDevice",
    "device-write-iops": "throttleWriteIOPSDevice",
}


def pids(options: RunOptions) -> int:
    """The number of processes that the container may have, UNLIMITED for any."""
    if options.pids_limit is not None:
        return options.pids_limit
    return UNLIMITED if options.privileged else PIDS_LIMIT


def resources(options: RunOptions, facts: HostFacts) -> Spec:
    """Returns the limits of a new container. Raises InvalidArgument for those that contradict each other."""
    given = changed({}, options, facts)
    limit = pids(options)
    if options.pids_limit is None and limit != UNLIMITED and facts.cgroups.available("pids"):
        given["pids"] = {"limit": limit}
    rules = _allow_list(options) if _makes_nodes(options, facts) else [*options.device_rules, *_narrowed(options)]
    return {**given, "devices": [dict(rule) for rule in rules]} if rules else given


def changed(before: Mapping[str, Any], options: RunOptions, facts: HostFacts) -> Spec:
    """Returns the limits `before` with those of `options` in the place of theirs, as `update` does.

    Raises InvalidArgument when what comes out contradicts itself.
    """
    _check_cpu(options, facts)
    after: Spec = {key: value for key, value in before.items() if key not in ("memory", "cpu", "blockIO", "pids")}
    sections = {
        "memory": {**before.get("memory", {}), **_memory(before.get("memory", {}), options, facts)},
        "cpu": {**before.get("cpu", {}), **_cpu(options)},
        "blockIO": {**before.get("blockIO", {}), **_block(options)},
        "pids": before.get("pids", {}) if options.pids_limit is None else {"limit": options.pids_limit},
    }
    _check_memory(sections["memory"])
    return after | {name: section for name, section in sections.items() if section}


def _memory(before: Mapping[str, Any], options: RunOptions, facts: HostFacts) -> Spec:
    swap = options.memory_swap
    if swap is None and options.memory is not None and "swap" not in before and facts.cgroups.counts_swap():
        swap = options.memory * 2  # as Docker: as much again
    return _given(
        limit=options.memory,
        swap=swap,
        reservation=options.memory_reservation,
        swappiness=options.memory_swappiness,
        disableOOMKiller=options.oom_kill_disable or None,
    )


def _check_memory(memory: Mapping[str, Any]) -> None:
    limit, swap, reservation = memory.get("limit"), memory.get("swap"), memory.get("reservation")
    if swap not in (None, UNLIMITED):
        if limit is None:
            raise InvalidArgument("cannot use --memory-swap: --memory is not given")
        if swap < limit:
            raise InvalidArgument(
                "cannot use --memory: it is more than --memory-swap",
                hint="--memory-swap counts memory and swap together: set it to at least --memory at the same time",
            )
    if limit is not None and reservation is not None and limit < reservation:
        raise InvalidArgument("cannot use --memory-reservation: it is more than --memory")


def _cpu(options: RunOptions) -> Spec:
    quota, period = options.cpu_quota, options.cpu_period
    if options.nano_cpus is not None:
        quota, period = options.nano_cpus * _PERIOD // 10**9, _PERIOD
    return _given(shares=options.cpu_shares, quota=quota, period=period, cpus=options.cpuset_cpus, mems=options.cpuset_mems)


def _check_cpu(options: RunOptions, facts: HostFacts) -> None:
    if options.nano_cpus is None:
        return
    if options.cpu_quota is not None or options.cpu_period is not None:
        raise InvalidArgument("cannot use --cpus: --cpu-quota or --cpu-period says the same")
    if options.nano_cpus > facts.cpus * 10**9:
        raise InvalidArgument(f"cannot use --cpus: this machine lets the caller use {facts.cpus} processors")


def _block(options: RunOptions) -> Spec:
    block = _given(weight=options.blkio_weight)
    if options.blkio_weight_devices:
        block["weightDevice"] = [{"path": path, "weight": weight} for path, weight in options.blkio_weight_devices]
    for flag, path, rate in options.io_limits:
        block.setdefault(_THROTTLES[flag], []).append({"path": path, "rate": rate})
    return block


def _given(**members: Any) -> Spec:
    return {name: value for name, value in members.items() if value is not None}


def _makes_nodes(options: RunOptions, facts: HostFacts) -> bool:
    """Whether the container is in the host's user namespace, where any device's node can be made (mknod(2)), and can be limited there."""
    return options.userns == "host" and not options.privileged and facts.cgroups.available("devices")


def _allow_list(options: RunOptions) -> list[Spec]:
    """As Docker: the default devices, those of --device, and the caller's own rules."""
    from estiba.linux.device_rules import DEFAULT_RULES

    given = [{"allow": True, "path": device.source, "access": device.permissions} for device in options.devices]
    return [{"allow": False}, *DEFAULT_RULES, *given, *options.device_rules]


def _narrowed(options: RunOptions) -> list[Spec]:
    """Returns rules only where a device is less than ``rwm``; what may be opened at all is a matter of which nodes are there."""
    narrowed = [(device.source, missing) for device in options.devices if (missing := _missing(device.permissions))]
    return [{"allow": False, "path": source, "access": missing} for source, missing in narrowed]


def _missing(permissions: str) -> str:
    # Without m nothing changes: mknod(2) of a device is refused in a user namespace anyway.
    return "".join(letter for letter in "rw" if letter not in permissions)
