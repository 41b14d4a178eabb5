"""estiba's system-call profile in the words of the runtime spec, for a bundle that another runtime runs.

The spec's rules (libseccomp's) cannot say all that our filter says: a condition that forbids within a call that is otherwise
allowed (ioctl) is left out, and what our filter answers with an error number of its own is answered with the default, ENOSYS.
Everything that our filter forbids by name or lets through by argument is as strict here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from estiba.errors import NotImplemented
from estiba.runtime import syscalls
from estiba.runtime.seccomp_bpf import ALLOW, Check, Condition
from estiba.runtime.seccomp_profile import ENOSYS, EPERM, actions

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def seccomp_section(machine: str, capabilities: Iterable[str]) -> dict[str, Any]:
    """`linux.seccomp` (runtime-spec, config-linux.md) for a process that holds `capabilities`.

    Parameter: `machine` as uname(2) names it. Raises NotImplemented for one whose system calls are not known.
    """
    if machine not in _ARCHITECTURES:
        raise NotImplemented(f"cannot write a system-call filter for {machine}: its system calls are not known")
    numbers = syscalls.table(machine)
    names = {number: name for name, number in numbers.items()}
    allowed, forbidden, rules = [], [], []
    for number, action in actions(numbers, frozenset(capabilities)).items():
        name = names[number]
        if isinstance(action, Check):
            rules += _rules(name, action)
        elif action == ALLOW:
            allowed.append(name)
        elif action & 0xFFFF == EPERM:
            forbidden.append(name)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [
            {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
            {"names": sorted(forbidden), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM},
            *rules,
        ],
    }


def _rules(name: str, check: Check) -> list[dict[str, Any]]:
    if check.otherwise == ALLOW:
        return [{"names": [name], "action": "SCMP_ACT_ALLOW"}]
    allowing = [conditions for conditions, action in check.rules if action == ALLOW]
    return [{"names": [name], "action": "SCMP_ACT_ALLOW", "args": [_argument(each) for each in group]} for group in allowing]


def _argument(condition: Condition) -> dict[str, Any]:
    if condition.operator == "MASKED_EQ":  # libseccomp's first value is the mask, its second one what is left
        return {"index": condition.index, "value": condition.mask, "valueTwo": condition.value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"index": condition.index, "value": condition.value, "op": f"SCMP_CMP_{condition.operator}"}
