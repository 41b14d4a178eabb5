"""System-call filters: our profile compiled for a machine, and profiles in Docker's JSON format.

Not on the start path: a container with the default capabilities takes its filter ready-made from `seccomp_default`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiba.errors import InvalidArgument
from estiba.oci.strict_json import as_dict, get_int, get_list, get_str, get_str_list, loads
from estiba.runtime import seccomp_bpf, seccomp_profile, syscalls
from estiba.runtime.parse_values import nearest
from estiba.runtime.seccomp_bpf import ALLOW, KILL_PROCESS, Action, Check, Condition, errno

if TYPE_CHECKING:
    from collections.abc import Iterable

ENOSYS = seccomp_profile.ENOSYS


def profile_filter(machine: str, capabilities: Iterable[str], *, with_i386: bool = False) -> bytes:
    """Returns our profile for `machine` (uname(2)) and a process with `capabilities`. `with_i386` also lets 32-bit x86 programs in."""
    held = frozenset(capabilities)
    machines = [machine, "i386"] if with_i386 else [machine]
    rules = [(syscalls.AUDIT_ARCH[name], seccomp_profile.actions(syscalls.table(name), held)) for name in machines]
    return seccomp_bpf.encode(seccomp_bpf.program(rules, errno(ENOSYS), errno(ENOSYS)))


def monitor_filter(machine: str) -> bytes:
    """Returns the filter of a machine's monitor for `machine` (uname(2))."""
    rules = [(syscalls.AUDIT_ARCH[machine], seccomp_profile.monitor_actions(syscalls.table(machine)))]
    return seccomp_bpf.encode(seccomp_bpf.program(rules, errno(seccomp_profile.EPERM), errno(ENOSYS)))


# --- Docker's JSON (moby/profiles, seccomp.go; runtime-spec, config-linux.md#seccomp) ---------------------------------------

_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X86": "i386",
    "SCMP_ARCH_AARCH64": "aarch64",
}
_GO_NAMES = {"amd64": "x86_64", "x86": "i386", "386": "i386", "arm64": "aarch64", "x32": "x32", "arm": "arm"}
_OPERATORS = {
    "SCMP_CMP_NE": "NE",
    "SCMP_CMP_LT": "LT",
    "SCMP_CMP_LE": "LE",
    "SCMP_CMP_EQ": "EQ",
    "SCMP_CMP_GE": "GE",
    "SCMP_CMP_GT": "GT",
    "SCMP_CMP_MASKED_EQ": "MASKED_EQ",
}
_SIMPLE_ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
}
ACTIONS = ("SCMP_ACT_ERRNO", *_SIMPLE_ACTIONS)
OPERATORS = tuple(_OPERATORS)
ARCHITECTURES = tuple(_ARCHITECTURES)
_WHAT = "the seccomp profile"


def docker_filter(document: bytes, machine: str, capabilities: Iterable[str], kernel: tuple[int, int], path: str) -> bytes:
    """Compiles a profile in Docker's JSON for `machine` and a process with `capabilities` on a kernel of version `kernel`.

    Raises DataLoss for what is not JSON, InvalidArgument for an action, operator or architecture that does not exist. Names of
    calls that this machine does not have are skipped, as libseccomp does.
    """
    what = f"{_WHAT} {path}"
    profile = as_dict(loads(document, what=what), what)
    default = _action(profile, "defaultAction", get_int(profile, "defaultErrnoRet", what, 1, maximum=4095), what)
    held = frozenset(capabilities)
    rules = []
    for name in _machines(profile, machine, what):
        numbers = syscalls.table(name)
        rules.append((syscalls.AUDIT_ARCH[name], _calls(profile, numbers, default, machine, held, kernel, what)))
    return seccomp_bpf.encode(seccomp_bpf.program(rules, default, KILL_PROCESS if default == KILL_PROCESS else errno(ENOSYS)))


def _machines(profile: dict[str, object], machine: str, what: str) -> list[str]:
    """Returns this machine and those of its sub-architectures that the profile lets in."""
    listed = set(get_str_list(profile, "architectures", what, []))
    for entry in get_list(profile, "archMap", what, []):
        pair = as_dict(entry, what)
        if _ARCHITECTURES.get(get_str(pair, "architecture", what)) == machine:
            listed |= {get_str(pair, "architecture", what), *get_str_list(pair, "subArchitectures", what, [])}
    also = "i386" if machine == "x86_64" and "SCMP_ARCH_X86" in listed else ""
    return [machine, also] if also else [machine]


def _calls(
    profile: dict[str, object],
    numbers: dict[str, int],
    default: int,
    machine: str,
    held: frozenset[str],
    kernel: tuple[int, int],
    what: str,
) -> dict[int, Action]:
    """Groups the rules by call. The first unconditional rule ends a call's list, as later ones cannot be reached."""
    rules: dict[int, list[tuple[list[Condition], int]]] = {}
    for entry in get_list(profile, "syscalls", what, []):
        group = as_dict(entry, what)
        action = _action(group, "action", get_int(group, "errnoRet", what, 1, maximum=4095), what)
        names = get_str_list(group, "names", what, [])
        names = names or [get_str(group, "name", what)]
        conditions = [_condition(argument, what) for argument in get_list(group, "args", what, [])]
        if not _applies(group, machine, held, kernel, what):
            continue
        for name in names:
            if name in numbers:
                rules.setdefault(numbers[name], []).append((conditions, action))
    return {number: _combined(entries, default) for number, entries in rules.items()}


def _combined(entries: list[tuple[list[Condition], int]], default: int) -> Action:
    plain = [action for conditions, action in entries if not conditions]
    if plain:
        return plain[0]
    return Check(entries, default)


def _action(section: dict[str, object], key: str, number: int, what: str) -> int:
    word = get_str(section, key, what)
    if word == "SCMP_ACT_ERRNO":
        return errno(number)
    if word not in _SIMPLE_ACTIONS:
        raise InvalidArgument(f"cannot use {what}: {key} {word!r} is not offered", hint=nearest(word, ACTIONS))
    return _SIMPLE_ACTIONS[word]


def _condition(value: object, what: str) -> Condition:
    argument = as_dict(value, what)
    word = get_str(argument, "op", what)
    if word not in _OPERATORS:
        raise InvalidArgument(f"cannot use {what}: operator {word!r} does not exist", hint=nearest(word, OPERATORS))
    index = get_int(argument, "index", what, maximum=5)
    largest = (1 << 64) - 1
    first, second = (get_int(argument, key, what, 0, maximum=largest) for key in ("value", "valueTwo"))
    if _OPERATORS[word] == "MASKED_EQ":
        return Condition(index, "MASKED_EQ", second, first)
    return Condition(index, _OPERATORS[word], first)


def _applies(group: dict[str, object], machine: str, held: frozenset[str], kernel: tuple[int, int], what: str) -> bool:
    includes, excludes = (as_dict(group.get(key) or {}, what) for key in ("includes", "excludes"))
    caps, no_caps = (get_str_list(section, "caps", what, []) for section in (includes, excludes))
    arches, no_arches = (
        [_GO_NAMES.get(name, name) for name in get_str_list(section, "arches", what, [])] for section in (includes, excludes)
    )
    minimum, too_new = (_version(get_str(section, "minKernel", what, ""), what) for section in (includes, excludes))
    if arches and machine not in arches:
        return False
    if machine in no_arches or any(name in held for name in no_caps):
        return False
    if (minimum and kernel < minimum) or (too_new and kernel >= too_new):
        return False
    return all(name in held for name in caps)


def _version(text: str, what: str) -> tuple[int, int] | None:
    if not text:
        return None
    major, _, minor = text.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise InvalidArgument(f"cannot use {what}: minKernel {text!r} is not a version")
    return int(major), int(minor)
