"""An interpreter of the few instructions of BPF that device programs have: what the kernel would answer, without asking it."""

from __future__ import annotations

import struct

# Documentation/bpf/standardization/instruction-set.rst
_LOAD, _MOVE, _SET, _AND, _SHIFT, _JUMP, _EXIT = 0x61, 0xBF, 0xB7, 0x57, 0x77, 0x05, 0x95
_CONDITIONS = {0x45: lambda value, number: value & number != 0, 0x55: lambda value, number: value != number}


def decode(code: bytes) -> list[tuple[int, int, int, int, int]]:
    """Returns code, target, source, offset and number of each struct bpf_insn."""
    assert code
    assert len(code) % 8 == 0
    return [(op, registers & 15, registers >> 4, offset, number) for op, registers, offset, number in struct.iter_unpack("<BBhi", code)]


def allows(code: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Runs a program on a struct bpf_cgroup_dev_ctx. Fails for a jump backwards or outside, and for a register that was not set."""
    program = decode(code)
    wanted = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = struct.pack("<III", wanted << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers: dict[int, int] = {}
    at = 0
    while True:
        op, target, source, offset, number = program[at]
        at += 1
        if op == _EXIT:
            return bool(registers[0])
        if op == _LOAD:
            assert source == 1
            (registers[target],) = struct.unpack_from("<I", context, offset)
        elif op == _MOVE:
            registers[target] = registers[source]
        elif op == _SET:
            registers[target] = number
        elif op == _AND:
            registers[target] &= number
        elif op == _SHIFT:
            registers[target] >>= number
        else:
            assert offset > 0
            at += offset if op == _JUMP or _CONDITIONS[op](registers[target], number) else 0


def reachable(code: bytes) -> bool:
    """Tells whether every instruction can be reached, which the kernel's verifier wants."""
    program, todo, seen = decode(code), [0], set()
    while todo:
        at = todo.pop()
        if at not in seen:
            seen.add(at)
            op, _, _, offset, _ = program[at]
            todo += [] if op == _EXIT else [at + 1 + offset] if op == _JUMP else [at + 1, at + 1 + offset] if op in _CONDITIONS else [at + 1]
    return len(seen) == len(program)
