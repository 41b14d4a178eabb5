"""An interpreter of the classic BPF programs that seccomp(2) takes: what the kernel would answer, without asking it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Instruction = tuple[int, int, int, int]

# linux/bpf_common.h: what seccomp(2) lets through of it and estiba's programs use.
_LOAD, _AND, _ALWAYS, _RETURN = 0x20, 0x54, 0x05, 0x06
_JUMPS = {
    0x15: lambda accumulator, k: accumulator == k,
    0x25: lambda accumulator, k: accumulator > k,
    0x35: lambda accumulator, k: accumulator >= k,
}
# BPF_MAXINSNS, linux/bpf_common.h
_LONGEST = 4096


def decode(code: bytes) -> list[Instruction]:
    """Returns the instructions of an array of struct sock_filter."""
    assert code
    assert len(code) % 8 == 0
    return list(struct.iter_unpack("<HBBI", code))


def data(number: int, arch: int, arguments: Sequence[int] = ()) -> bytes:
    """Returns a struct seccomp_data (linux/seccomp.h); arguments are 64 bits wide."""
    six = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    return struct.pack("<iIQ6Q", number - (1 << 32 if number >> 31 else 0), arch, 0xDEAD, *six)


def run(program: Sequence[Instruction], call: bytes) -> int:
    """Returns the action for one call. Fails for what the kernel's verifier refuses: a foreign instruction, a jump or load outside."""
    assert len(program) <= _LONGEST
    accumulator, at = 0, 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == _RETURN:
            return k
        if code == _LOAD:
            assert k % 4 == 0
            (accumulator,) = struct.unpack_from("<I", call, k)
        elif code == _AND:
            accumulator &= k
        elif code == _ALWAYS:
            at += k
        else:
            at += yes if _JUMPS[code](accumulator, k) else no
