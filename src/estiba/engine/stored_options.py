"""Options that a container's OCI spec does not hold, in its state.json, for every later start. On the start path."""

from __future__ import annotations

from estiba.errors import DataLoss
from estiba.runtime.options import RunOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT = (
    "cgroup_parent", "cgroupns", "emulate", "ipc", "isolation", "kernel", "memory", "network", "pid", "pids_limit", "privileged", "seccomp",
    "snapshot", "tty", "userns", "uts",
)  # fmt: skip


def state(options: RunOptions) -> dict[str, object]:
    """The options as state.json has them."""
    return {name: getattr(options, name) for name in _KEPT}


def options(kept: Mapping[str, object], what: str) -> RunOptions:
    """The options of a container that was created before. Raises DataLoss for another type than `state` writes."""
    made = RunOptions()
    for name in _KEPT:
        value = kept.get(name, getattr(made, name))
        if not (value is None or isinstance(value, (str, int))):
            raise DataLoss(f"cannot read {what}: {name} is not a text or a number")
        setattr(made, name, value)
    return made
