"""``estiba runtime update``: other limits for a container."""

from __future__ import annotations

from estiba.cli.arguments import Flag
from estiba.cli.runtime import root_of, runtime_command
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

# Flag -> where its value is in linux.resources, and whether it is a number.
_PLACES = {
    "blkio-weight": ("blockIO", "weight", True),
    "cpu-period": ("cpu", "period", True),
    "cpu-quota": ("cpu", "quota", True),
    "cpu-burst": ("cpu", "burst", True),
    "cpu-share": ("cpu", "shares", True),
    "cpu-rt-period": ("cpu", "realtimePeriod", True),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", True),
    "cpu-idle": ("cpu", "idle", True),
    "cpuset-cpus": ("cpu", "cpus", False),
    "cpuset-mems": ("cpu", "mems", False),
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "pids-limit": ("pids", "limit", True),
}


def _run(_context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.update import update

    update(root_of(found), found.arguments[0], _resources(found))
    return 0


def _resources(found: Invocation) -> dict[str, Any]:
    if found.given("resources"):
        return _read(found.string("resources"))
    resources: dict[str, Any] = {}
    for flag, (section, key, numeric) in _PLACES.items():
        if found.given(flag):
            text = found.string(flag)
            resources.setdefault(section, {})[key] = _number(flag, text) if numeric else text
    return resources


def _read(path: str) -> dict[str, Any]:
    import sys

    from estiba.oci import strict_json

    if path == "-":
        data = sys.stdin.buffer.read(strict_json.LIMIT + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(strict_json.LIMIT + 1)
    return dict(strict_json.as_dict(strict_json.loads(data, what="the resources"), "the resources"))


def _number(flag: str, text: str) -> int:
    """Bytes with Docker's suffixes where the flag is of memory, else a number."""
    from estiba.runtime.parse_values import size

    if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit():
        return int(text)
    if flag.startswith("memory"):
        return size(f"--{flag}", text, minimum=0)
    raise InvalidArgument(f"cannot use --{flag} {text}: it is not a number")


COMMAND = runtime_command(
    "update",
    "Change the limits of a container",
    _run,
    flags=(
        Flag("resources", "File with linux.resources as JSON, - for standard input", short="r", value="file", complete="file"),
        *(Flag(name, f"{section}.{key} of linux.resources") for name, (section, key, _) in _PLACES.items()),
    ),
    examples=[("estiba runtime update --memory 64m --memory-swap 64m web", "other limits stay as they are")],
)
