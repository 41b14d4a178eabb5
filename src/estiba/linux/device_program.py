"""Rules of devices as a program: what control groups of version 2 have in the place of files (Documentation/admin-guide/cgroup-v2.rst,
"Device controller"; the instructions are those of Documentation/bpf/standardization/instruction-set.rst). Pure.

The kernel runs it for each device that is to be made or opened, with what is wanted of it: to make, to read, to write. Of each of these
the last rule decides that names it; all that are wanted must be allowed. The program asks the rules from the last to the first, so that
it ends as soon as it knows.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# linux/bpf.h: BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS = 7
# A device number has 12 and 20 bits (include/linux/kdev_t.h).
_MAJORS, _MINORS = 1 << 12, 1 << 20
# Registers: of the answer, of struct bpf_cgroup_dev_ctx, and of what was read from that.
_ANSWER, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR = range(6)
# Operation codes: a load of 32 bits; on 64 bits with a register or a number; jumps.
_LOAD, _MOVE, _SET, _AND, _SHIFT_RIGHT = 0x61, 0xBF, 0xB7, 0x57, 0x77
_JUMP, _JUMP_IF_ANY_BIT, _JUMP_UNLESS_EQUAL, _EXIT = 0x05, 0x45, 0x55, 0x95


def _instruction(code: int, target: int = 0, source: int = 0, *, offset: int = 0, number: int = 0) -> bytes:
    """One struct bpf_insn."""
    return bytes((code, target | source << 4)) + offset.to_bytes(2, "little") + number.to_bytes(4, "little")


_LENGTH = len(_instruction(_EXIT))
_READ_CONTEXT = b"".join(
    (
        _instruction(_LOAD, _TYPE, _CONTEXT),  # the upper half is what is wanted
        _instruction(_MOVE, _WANTED, _TYPE),
        _instruction(_SHIFT_RIGHT, _WANTED, number=16),
        _instruction(_AND, _TYPE, number=0xFFFF),
        _instruction(_LOAD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD, _MINOR, _CONTEXT, offset=8),
    )
)


def device_program(rules: Sequence[Mapping[str, Any]], *, allowed: bool) -> bytes:
    """Returns the instructions of `rules` (runtime-spec, config-linux.md#allowed-device-list); `allowed` is what no rule decides."""
    program = _READ_CONTEXT
    for rule in reversed(rules):
        conditions, access = _conditions(rule), _access(rule)
        if conditions is None:
            continue
        program += _guarded(conditions, _decision(access, allow=rule["allow"]))
        if not conditions and access == _EVERY_ACCESS:
            return program  # the verifier refuses what cannot be reached
    return program + _answer(allow=allowed)


def _conditions(rule: Mapping[str, Any]) -> list[tuple[int, int]] | None:
    """Registers and the numbers that they must have; None where no device fulfils them."""
    kind = rule.get("type") or "a"
    major, minor = _number(rule, "major"), _number(rule, "minor")
    if kind == "p" or major >= _MAJORS or minor >= _MINORS:
        return None
    wanted = [] if kind == "a" else [(_TYPE, _TYPES["c" if kind == "u" else kind])]
    return wanted + [(register, number) for register, number in ((_MAJOR, major), (_MINOR, minor)) if number >= 0]


def _number(rule: Mapping[str, Any], key: str) -> int:
    number = rule.get(key)
    return -1 if number is None else int(number)


def _access(rule: Mapping[str, Any]) -> int:
    bits = 0
    for letter in rule.get("access") or "rwm":
        bits |= _ACCESS[letter]
    return bits


def _guarded(conditions: Sequence[tuple[int, int]], body: bytes) -> bytes:
    """`body`, passed over unless every condition is fulfilled."""
    for register, number in reversed(conditions):
        body = _instruction(_JUMP_UNLESS_EQUAL, register, offset=len(body) // _LENGTH, number=number) + body
    return body


def _decision(access: int, *, allow: bool) -> bytes:
    """The answer, where this rule has the last word; else it goes on with what is still wanted."""
    answer = _answer(allow=allow)
    behind = len(answer) // _LENGTH
    if access == _EVERY_ACCESS:
        return answer
    if allow:
        rest = _instruction(_AND, _WANTED, number=_EVERY_ACCESS ^ access)
        return rest + _instruction(_JUMP_UNLESS_EQUAL, _WANTED, offset=behind) + answer
    return _instruction(_JUMP_IF_ANY_BIT, _WANTED, offset=1, number=access) + _instruction(_JUMP, offset=behind) + answer


def _answer(*, allow: bool) -> bytes:
    return _instruction(_SET, _ANSWER, number=int(allow)) + _instruction(_EXIT)
