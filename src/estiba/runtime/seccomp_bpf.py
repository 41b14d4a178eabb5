"""System-call rules -> a classic BPF program for seccomp(2), as a tree over ranges of numbers.

A filter is run for every system call, but its cost at a start is its length: neighbouring numbers with one action are one leaf, and
a binary tree of comparisons finds the leaf. Equal leaves are emitted once where the 8-bit jumps of BPF reach them.

A program is a list of instructions (code, jt, jf, k) as in struct sock_filter (linux/filter.h).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Instruction = tuple[int, int, int, int]

# linux/bpf_common.h
_LD_ABS, _JA, _JEQ, _JGT, _JGE, _RET, _AND = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06, 0x54
# struct seccomp_data: nr, arch, instruction pointer, six 64-bit arguments (little endian)
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

# x32 calls of x86_64 have this bit (asm/unistd.h); no other architecture has a number as large.
_X32_BIT = 0x40000000
_MASK32 = 0xFFFFFFFF


def errno(number: int) -> int:
    """The action that makes a call fail with an error number."""
    return _ERRNO | number


class Condition:
    """One comparison of an argument: EQ, NE, GT, GE, LT, LE, or MASKED_EQ ((argument & mask) == value). All are unsigned 64 bit."""

    __slots__ = ("index", "mask", "operator", "value")

    def __init__(self, index: int, operator: str, value: int, mask: int = 0xFFFFFFFFFFFFFFFF) -> None:
        self.index = index
        self.operator = operator
        self.value = value
        self.mask = mask


class Check:
    """What happens to one call: the action of the first rule whose conditions all hold, else `otherwise`."""

    __slots__ = ("otherwise", "rules")

    def __init__(self, rules: Sequence[tuple[Sequence[Condition], int]], otherwise: int) -> None:
        self.rules = tuple((tuple(conditions), action) for conditions, action in rules)
        self.otherwise = otherwise


Action = int | Check


def program(architectures: Sequence[tuple[int, Mapping[int, Action]]], default: int, foreign: int) -> list[Instruction]:
    """Returns the filter.

    `architectures` are AUDIT_ARCH values with the actions of their numbers; other numbers get `default`, other architectures
    (and x32) `foreign`.
    """
    assembler = _Assembler()
    assembler.load(_ARCH)
    for arch, actions in architectures:
        after = assembler.label()
        assembler.jump(_JEQ, arch, None, after)
        assembler.load(_NUMBER)
        _tree(assembler, _ranges(actions, default, foreign))
        assembler.place(after)
    assembler.leave(foreign)
    return assembler.finish()


def encode(instructions: Sequence[Instruction]) -> bytes:
    """Returns the array of struct sock_filter."""
    return b"".join(code.to_bytes(2, "little") + bytes((jt, jf)) + k.to_bytes(4, "little") for code, jt, jf, k in instructions)


def _ranges(actions: Mapping[int, Action], default: int, foreign: int) -> list[tuple[int, Action]]:
    """Returns (first number, action) pairs that cover all numbers; neighbours differ."""
    ranges: list[tuple[int, Action]] = []
    last = max(actions, default=-1)
    for number in range(last + 1):
        action = actions.get(number, default)
        if not ranges or ranges[-1][1] != action:
            ranges.append((number, action))
    if not ranges or ranges[-1][1] != default:
        ranges.append((last + 1, default))
    if default != foreign:
        ranges.append((_X32_BIT, foreign))
    return ranges


def _tree(assembler: _Assembler, ranges: Sequence[tuple[int, Action]]) -> None:
    if len(ranges) == 1:
        action = ranges[0][1]
        if isinstance(action, Check):
            _check(assembler, action)
        else:
            assembler.leave(action)
        return
    middle = len(ranges) // 2
    left, right = ranges[:middle], ranges[middle:]
    at_right = assembler.target(right)
    at_left = assembler.target(left)
    assembler.jump(_JGE, right[0][0], at_right, at_left)
    if not assembler.is_shared(left):
        assembler.place(at_left)
        _tree(assembler, left)
    if not assembler.is_shared(right):
        assembler.place(at_right)
        _tree(assembler, right)


def _check(assembler: _Assembler, check: Check) -> None:
    for conditions, action in check.rules:
        following = assembler.label()
        for condition in conditions:
            _compare(assembler, condition, following)
        assembler.leave(action)
        assembler.place(following)
    assembler.leave(check.otherwise)


_INVERSE = {"NE": "EQ", "LT": "GE", "LE": "GT"}


def _compare(assembler: _Assembler, condition: Condition, fail: int) -> None:
    """Emits code that falls through when the condition holds and goes to `fail` when it does not."""
    if condition.operator in _INVERSE:
        hold = assembler.label()
        _positive(assembler, _INVERSE[condition.operator], condition, fail, hold)
        assembler.place(hold)
    else:
        hold = assembler.label()
        _positive(assembler, condition.operator, condition, hold, fail)
        assembler.place(hold)


def _positive(assembler: _Assembler, operator: str, condition: Condition, yes: int, no: int) -> None:
    low, high = _ARGUMENTS + 8 * condition.index, _ARGUMENTS + 8 * condition.index + 4
    value_low, value_high = condition.value & _MASK32, condition.value >> 32
    if operator in ("EQ", "MASKED_EQ"):
        mask = condition.mask if operator == "MASKED_EQ" else 0xFFFFFFFFFFFFFFFF
        if mask >> 32:
            assembler.load(high, mask >> 32)
            assembler.jump(_JEQ, value_high, None, no)
        assembler.load(low, mask & _MASK32)
        assembler.jump(_JEQ, value_low, yes, no)
        return
    assembler.load(high)
    assembler.jump(_JGT, value_high, yes, None)
    assembler.jump(_JEQ, value_high, None, no)
    assembler.load(low)
    assembler.jump(_JGT if operator == "GT" else _JGE, value_low, yes, no)


class _Assembler:
    """Collects instructions with symbolic targets and resolves them; all jumps of BPF go forward."""

    def __init__(self) -> None:
        # Each item: ("load", offset) ("and", mask) ("jump", code, k, yes, no) ("leave", action) or ("label", number).
        self._items: list[tuple[str, tuple[int | None, ...]]] = []
        self._labels = 0
        self._leaves: dict[int, int] = {}

    def label(self) -> int:
        self._labels += 1
        return self._labels

    def place(self, label: int) -> None:
        self._items.append(("label", (label,)))

    def load(self, offset: int, mask: int = _MASK32) -> None:
        self._items.append(("load", (offset,)))
        if mask != _MASK32:
            self._items.append(("and", (mask,)))

    def jump(self, code: int, k: int, yes: int | None, no: int | None) -> None:
        """Jumps to labels; None is the next instruction."""
        self._items.append(("jump", (code, k, yes, no)))

    def leave(self, action: int) -> None:
        self._items.append(("leave", (action,)))

    def is_shared(self, ranges: Sequence[tuple[int, Action]]) -> bool:
        return len(ranges) == 1 and not isinstance(ranges[0][1], Check)

    def target(self, ranges: Sequence[tuple[int, Action]]) -> int:
        """Returns the label of a subtree: the one shared leaf of its action, or a new one."""
        action = ranges[0][1]
        if len(ranges) == 1 and not isinstance(action, Check):
            return self._leaves.setdefault(action, self.label())
        return self.label()

    def finish(self) -> list[Instruction]:
        for action, label in self._leaves.items():
            self.place(label)
            self.leave(action)
        far: set[int] = set()
        while True:
            instructions, more = self._layout(far)
            if not more - far:
                return instructions
            far |= more

    def _layout(self, far: set[int]) -> tuple[list[Instruction], set[int]]:
        """Lays the items out; the jumps in `far` (by item) get a detour over 32-bit jumps. Returns which others need one."""
        address: dict[int, int] = {}
        position = 0
        for index, (kind, values) in enumerate(self._items):
            if kind == "label":
                address[values[0] or 0] = position
            else:
                position += 3 if index in far else 1
        out: list[Instruction] = []
        too_far: set[int] = set()
        for index, (kind, values) in enumerate(self._items):
            if kind == "jump":
                self._emit_jump(out, index, values, address, far, too_far)
            elif kind != "label":
                code = {"load": _LD_ABS, "and": _AND, "leave": _RET}[kind]
                out.append((code, 0, 0, values[0] or 0))
        return out, too_far

    def _emit_jump(
        self,
        out: list[Instruction],
        index: int,
        values: tuple[int | None, ...],
        address: dict[int, int],
        far: set[int],
        too_far: set[int],
    ) -> None:
        code, k, yes, no = values
        here = len(out) + 1
        if index in far:
            ends = [here + 2 if label is None else address[label] for label in (yes, no)]
            out.append((code or 0, 0, 1, k or 0))
            out.append((_JA, 0, 0, ends[0] - (here + 1)))
            out.append((_JA, 0, 0, ends[1] - (here + 2)))
            return
        offsets = [0 if label is None else address[label] - here for label in (yes, no)]
        if max(offsets) > 255:
            too_far.add(index)
            offsets = [0, 0]
        out.append((code or 0, offsets[0], offsets[1], k or 0))
