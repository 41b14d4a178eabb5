"""The process of `exec`: what the container's own is, and what its caller asked for beside it. Pure, on the start path."""

from __future__ import annotations

from estiba.runtime import capabilities
from estiba.runtime.parse_limits import UNLIMITED
from estiba.runtime.parse_options import RLIMITS
from estiba.runtime.spec import GROUPS, USER, with_callers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiba.runtime.options import RunOptions

    Spec = dict[str, Any]

_TERM = "TERM=xterm"
_NO_LIMIT = (1 << 64) - 1


def exec_spec(spec: Spec, options: RunOptions, hard_limits: Mapping[int, int]) -> Spec:
    """Returns the container's spec with the process that `options` ask for (command env environ user workdir tty privileged).

    `hard_limits` are the caller's: nobody is given more than he may hand on. As Docker has it, --privileged gives every capability, and the
    system-call filter and the masked paths stay.
    """
    process, annotations = dict(spec["process"]), {}
    process["args"] = list(options.command)
    process["env"] = _environment(process["env"], options, had_terminal=process["terminal"])
    process["terminal"] = options.tty
    process["cwd"] = options.workdir or process["cwd"]
    process["rlimits"] = [_lesser(limit, hard_limits) for limit in process["rlimits"]]
    if options.privileged:
        held = list(capabilities.NAMES)
        process["capabilities"] = {"bounding": held, "effective": held, "permitted": held}
    for name in (USER, GROUPS):
        if name in spec["annotations"]:
            annotations[name] = spec["annotations"][name]
    if options.user:
        annotations[USER] = options.user
    return {**spec, "process": process, "annotations": annotations}


def _environment(own: list[str], options: RunOptions, *, had_terminal: bool) -> list[str]:
    variables = {name: value for name, _, value in (entry.partition("=") for entry in own if not (had_terminal and entry == _TERM))}
    if options.tty:
        variables.setdefault("TERM", "xterm")
    return with_callers(variables, options)


def _lesser(limit: dict[str, Any], hard_limits: Mapping[int, int]) -> dict[str, Any]:
    highest = hard_limits[RLIMITS[limit["type"].removeprefix("RLIMIT_").lower()]]
    if highest == UNLIMITED:
        return limit
    soft, hard = (highest if value == _NO_LIMIT else min(value, highest) for value in (limit["soft"], limit["hard"]))
    return {**limit, "soft": soft, "hard": hard}
