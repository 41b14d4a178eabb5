"""Plans as bytes (helper/PROTOCOL.md, "Wire format") and as words."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba.errors import InvalidArgument
from estiba.plan import ops
from estiba.plan.encode import describe, encode, encode_op
from estiba.plan.ops import SCHEMA

if TYPE_CHECKING:
    from estiba.plan.ops import Op, Value

TEXT = st.binary(max_size=40).filter(lambda data: b"\0" not in data)
VALUES = {
    "u": st.integers(0, 0xFFFFFFFF),
    "q": st.integers(-(1 << 63), (1 << 64) - 1),
    "s": TEXT,
    "b": st.binary(max_size=40),
    "l": st.lists(TEXT, max_size=4),
}
OPS = st.sampled_from(sorted(SCHEMA)).flatmap(lambda code: st.tuples(st.just(code), *[VALUES[kind] for kind in SCHEMA[code][2]]))


def decode(plan: bytes) -> list[Op]:
    """A second, independent reading of the wire format."""
    magic, version, total, count = plan[:7], plan[7], *struct.unpack_from("<II", plan, 8)
    assert (magic, version, total) == (b"ESTIBA\0", ops.VERSION, len(plan))
    at, found = 16, []
    for _ in range(count):
        code, zero, size = struct.unpack_from("<HHI", plan, at)
        assert zero == 0
        arguments, end = [], at + 8 + size
        at += 8
        for kind in SCHEMA[code][2]:
            value, at = take(plan, at, kind)
            arguments.append(value)
        assert at == end
        found.append((code, *arguments))
    assert at == len(plan)
    return found


def take(plan: bytes, at: int, kind: str) -> tuple[Value, int]:
    if kind == "q":
        return struct.unpack_from("<Q", plan, at)[0], at + 8
    number = struct.unpack_from("<I", plan, at)[0]
    at += 4
    if kind == "u":
        return number, at
    if kind == "l":
        items: list[str | bytes] = []
        for _ in range(number):
            item, at = take(plan, at, "s")
            assert isinstance(item, bytes)
            items.append(item)
        return items, at
    data = plan[at : at + number]
    if kind == "s":
        assert plan[at + number] == 0
        return data, at + number + 1
    return data, at + number


@given(st.lists(OPS, max_size=6))
def test_what_is_encoded_can_be_read(plan: list[Op]) -> None:
    expected = [tuple(value % (1 << 64) if isinstance(value, int) else value for value in op) for op in plan]
    assert decode(encode(plan)) == expected


def test_header_of_an_empty_plan() -> None:
    assert encode([]) == b"ESTIBA\0" + bytes([ops.VERSION]) + (16).to_bytes(4, "little") + bytes(4)


def test_text_is_utf8_and_keeps_foreign_bytes() -> None:
    assert encode_op(ops.hostname("ñ\udcff"))[8:] == struct.pack("<I", 3) + b"\xc3\xb1\xff\0"


@pytest.mark.parametrize(
    "op",
    [
        ops.rlimit(1 << 32, 0, 0),
        ops.rlimit(-1, 0, 0),
        ops.rlimit(True, 0, 0),
        ops.oom_score_adj(1 << 64),
        ops.oom_score_adj(-(1 << 63) - 1),
        ops.hostname("a\0b"),
        ops.hostname(5),  # type: ignore[arg-type]
        ops.execute("true", []),
        ops.execute(b"true", []),  # type: ignore[arg-type]
        ops.execute([5], []),  # type: ignore[list-item]
        ops.execute(["a\0b"], []),
        ops.seccomp("text", 0),  # type: ignore[arg-type]
        (47, 1),
        (51, "root"),
        (9999,),
        ("slot",),
        (True,),
    ],
)
def test_what_cannot_be_encoded(op: Op) -> None:
    with pytest.raises(InvalidArgument, match="^cannot encode "):
        encode([op])


@given(OPS)
def test_every_operation_has_one_line(op: Op) -> None:
    text = describe(op)
    assert text.startswith(SCHEMA[op[0]][0])  # type: ignore[index]
    assert text.isprintable()


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (ops.pivot(), "pivot"),
        (ops.namespaces(0x20000), "namespaces flags=0x20000"),
        (ops.hostname("a\nb"), r"hostname name='a\nb'"),
        (ops.seccomp(b"12345678", 0), "seccomp filter=<8 bytes> flags=0x0"),
        (ops.execute(["sh", b"\xff"], []), r"execute arguments=['sh', '\\xff'] environment=[]"),
        (ops.oom_score_adj(-500), "oom_score_adj value=-500"),
        ((9999,), "unknown operation 9999"),
    ],
)
def test_describe(op: Op, text: str) -> None:
    assert describe(op) == text


def test_every_operation_has_a_constructor() -> None:
    """In the order of its arguments, as `unpack_layer` shows with a list of values."""
    for code, (name, _, _, arguments) in SCHEMA.items():
        constructor = getattr(ops, name)
        assert constructor(*range(len(arguments))) == (code, *range(len(arguments)))
