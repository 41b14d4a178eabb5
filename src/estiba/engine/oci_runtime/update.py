"""`update`: other limits for a container that is there."""

from __future__ import annotations

from estiba.engine.oci_runtime import cgroups
from estiba.engine.oci_runtime.config import Section
from estiba.engine.oci_runtime.state import State
from estiba.errors import Conflict, FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def update(root: str, name: str, resources: dict[str, Any]) -> None:
    """Sets the limits that `resources` names (as ``linux.resources``); others stay.

    Raises NotFound, Conflict for a stopped container, FailedPrecondition for a limit that this machine has no control group for.
    """
    state = State.read(root, name)
    with state.lock():
        if state.status == "stopped":
            raise Conflict(f"cannot update container {name}: it is stopped")
        section = Section(resources, "resources")
        groups = [
            (hierarchy, path)
            for hierarchy in cgroups.hierarchies()
            for path in state.cgroups
            if path.startswith(hierarchy.target + "/") and (section.has("devices") or hierarchy.controllers != ("devices",))
        ]
        if section.value.get("devices") and any(hierarchy.unified for hierarchy, _ in groups):
            raise FailedPrecondition("cannot change rules of devices: on control groups of version 2 a container has those of its creation")
        cgroups.set_all(groups, section)
