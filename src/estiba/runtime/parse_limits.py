"""Strings of the command line to limits of `RunOptions`, as `parse_options` does with the others. On the start path of ``run``.

0 means what it means to Docker: as if the flag was not given.
"""

from __future__ import annotations

from estiba.linux.cgroup import parent_folder
from estiba.runtime.parse_values import decimal, refuse, size, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.runtime.options import RunOptions

UNLIMITED = -1
_MINIMUM_MEMORY = 6 * 1024 * 1024  # as Docker: below it a process can hardly be started


def memory(options: RunOptions, text: str) -> None:
    """-m: at least 6 MiB."""
    options.memory = _bytes("--memory", text)


def memory_swap(options: RunOptions, text: str) -> None:
    """--memory-swap: memory and swap together; -1 no limit."""
    options.memory_swap = UNLIMITED if text == "-1" else _bytes("--memory-swap", text)


def memory_reservation(options: RunOptions, text: str) -> None:
    """--memory-reservation."""
    options.memory_reservation = _bytes("--memory-reservation", text)


def _bytes(flag: str, text: str) -> int | None:
    return None if text == "0" else size(flag, text, minimum=_MINIMUM_MEMORY)


def memory_swappiness(options: RunOptions, text: str) -> None:
    """--memory-swappiness: 0 to 100; -1 the kernel's own."""
    options.memory_swappiness = None if text == "-1" else whole("--memory-swappiness", text, 0, 100)


def cpus(options: RunOptions, text: str) -> None:
    """--cpus: a decimal number of processors."""
    nano = decimal("--cpus", text, 9)
    if nano < 10_000_000:  # the kernel's smallest quota is 1 ms of 100 ms
        raise refuse("--cpus", text, "at least 0.01")
    options.nano_cpus = nano


def cpu_period(options: RunOptions, text: str) -> None:
    """--cpu-period: 1,000 to 1,000,000 microseconds (cgroup v2, cpu.max)."""
    options.cpu_period = _number("--cpu-period", text, 1000, 1_000_000)


def cpu_quota(options: RunOptions, text: str) -> None:
    """--cpu-quota: microseconds, at least 1,000; -1 no limit."""
    options.cpu_quota = UNLIMITED if text == "-1" else _number("--cpu-quota", text, 1000, 1 << 53)


def cpu_shares(options: RunOptions, text: str) -> None:
    """--cpu-shares: 2 to 262,144."""
    options.cpu_shares = _number("--cpu-shares", text, 2, 262144)


def _number(flag: str, text: str, least: int, most: int) -> int | None:
    return None if text == "0" else whole(flag, text, least, most)


def cpuset_cpus(options: RunOptions, text: str) -> None:
    """--cpuset-cpus: a list as in cpuset(7)."""
    options.cpuset_cpus = _cpu_list("--cpuset-cpus", text)


def cpuset_mems(options: RunOptions, text: str) -> None:
    """--cpuset-mems."""
    options.cpuset_mems = _cpu_list("--cpuset-mems", text)


def _cpu_list(flag: str, text: str) -> str:
    for part in text.split(","):
        first, separator, last = part.partition("-")
        low = whole(flag, first, 0, 65535, shown=text)
        if separator and whole(flag, last, 0, 65535, shown=text) < low:
            raise refuse(flag, text, "a range that ends before it begins")
    return text


def pids_limit(options: RunOptions, text: str) -> None:
    """--pids-limit: a number, -1 for none (as Docker, 0 too means none)."""
    options.pids_limit = UNLIMITED if text in ("-1", "0") else whole("--pids-limit", text, 1, 4_194_304)


def blkio_weight(options: RunOptions, text: str) -> None:
    """--blkio-weight: 10 to 1,000."""
    options.blkio_weight = _number("--blkio-weight", text, 10, 1000)


def blkio_weight_device(options: RunOptions, text: str) -> None:
    """--blkio-weight-device /dev/NAME:WEIGHT."""
    flag = "--blkio-weight-device"
    path, weight = _device(flag, text, "WEIGHT")
    options.blkio_weight_devices.append((path, whole(flag, weight, 10, 1000, shown=text)))


def _throttle(name: str, *, of_bytes: bool) -> Callable[[RunOptions, str], None]:
    flag = f"--{name}"

    def store(options: RunOptions, text: str) -> None:
        path, rate = _device(flag, text, "RATE")
        number = size(flag, rate, minimum=1) if of_bytes else whole(flag, rate, 1, (1 << 32) - 1, shown=text)
        options.io_limits.append((name, path, number))

    return store


def _device(flag: str, text: str, what: str) -> tuple[str, str]:
    path, separator, value = text.rpartition(":")
    if not separator or not path.startswith("/dev/") or ".." in path.split("/") or not path.isprintable():
        raise refuse(flag, text, "not a device and a value", hint=f"/dev/NAME:{what}")
    return path, value


def device_cgroup_rule(options: RunOptions, text: str) -> None:
    """--device-cgroup-rule 'TYPE MAJOR:MINOR ACCESS', as a line of devices.list (cgroup-v1/devices.rst)."""
    flag, hint = "--device-cgroup-rule", "for example 'c 42:* rmw'"
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, separator, minor = numbers.partition(":")
    if kind not in ("a", "b", "c") or not separator or not access or set(access) - set("rwm") or len(access) > 3:
        raise refuse(flag, text, "not a rule", hint=hint)
    rule: dict[str, object] = {"allow": True, "type": kind, "access": access}
    for name, number in (("major", major), ("minor", minor)):
        if number != "*":
            rule[name] = whole(flag, number, 0, (1 << 20) - 1, shown=text)
    options.device_rules.append(rule)


def cgroup_parent(options: RunOptions, text: str) -> None:
    """--cgroup-parent: a folder below the hierarchy that this caller may use."""
    options.cgroup_parent = parent_folder(text)


#: The flags that `run` and `update` share.
CHANGEABLE: dict[str, Callable[[RunOptions, str], None]] = {
    "blkio-weight": blkio_weight,
    "cpu-period": cpu_period,
    "cpu-quota": cpu_quota,
    "cpu-shares": cpu_shares,
    "cpus": cpus,
    "cpuset-cpus": cpuset_cpus,
    "cpuset-mems": cpuset_mems,
    "memory": memory,
    "memory-reservation": memory_reservation,
    "memory-swap": memory_swap,
    "pids-limit": pids_limit,
}
PARSERS: dict[str, Callable[[RunOptions, str], None]] = {
    **CHANGEABLE,
    "blkio-weight-device": blkio_weight_device,
    "cgroup-parent": cgroup_parent,
    "device-cgroup-rule": device_cgroup_rule,
    "memory-swappiness": memory_swappiness,
    **{f"device-{way}-bps": _throttle(f"device-{way}-bps", of_bytes=True) for way in ("read", "write")},
    **{f"device-{way}-iops": _throttle(f"device-{way}-iops", of_bytes=False) for way in ("read", "write")},
}
