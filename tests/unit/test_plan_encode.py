"""Plans as bytes and as words. The decoder's own tests are in test_plan_check.py."""

from __future__ import annotations

import inspect
import os
import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba.errors import FailedPrecondition, InvalidArgument
from estiba.plan import ops
from estiba.plan.encode import HEADER_SIZE, describe, encode, encode_op
from estiba.plan.helper import helper_path, plan_descriptor, spawn


def test_an_empty_plan_is_a_header() -> None:
    assert encode([]) == b"ESTIBA\0" + bytes([ops.VERSION]) + struct.pack("<II", HEADER_SIZE, 0)


def test_every_type_of_argument() -> None:
    """Byte for byte what PROTOCOL.md says, written by another hand than the encoder's."""
    plan = encode([ops.slot(7, 9, "/a"), ops.file("x", 0o644, b"\0\xff"), ops.bounding(-1), ops.execute(["a", b"\xff"], [])])
    slot = struct.pack("<HHIIII", 1, 0, 15, 7, 9, 2) + b"/a\0"
    file = struct.pack("<HHII", 39, 0, 16, 1) + b"x\0" + struct.pack("<II", 0o644, 2) + b"\0\xff"
    bounding = struct.pack("<HHIQ", 50, 0, 8, 2**64 - 1)
    execute = struct.pack("<HHIII", 57, 0, 20, 2, 1) + b"a\0" + struct.pack("<I", 1) + b"\xff\0" + struct.pack("<I", 0)
    assert plan[HEADER_SIZE:] == slot + file + bounding + execute
    assert struct.unpack("<II", plan[8:HEADER_SIZE]) == (len(plan), 4)


def test_names_of_files_are_bytes() -> None:
    """What os.fsdecode made of a name that is not UTF-8 is the name again."""
    assert encode_op(ops.mask(os.fsdecode(b"/\xff"))) == encode_op(ops.mask(b"/\xff"))


@pytest.mark.parametrize(
    "op",
    [
        (1, -1, 3, ""),
        (1, 2**32, 3, ""),
        (1, True, 3, ""),
        (1, 0, "3", ""),
        (50, 2**64),
        (50, -(2**63) - 1),
        (41, "a\0b"),
        (41, 5),
        (39, "x", 0o644, "text"),
        (57, "word", []),
        (57, ["a", 1], []),
        (41,),
        (41, "/a", "/b"),
        (9999,),
        ("mask", "/a"),
    ],
)
def test_values_that_their_type_cannot_hold(op: ops.Op) -> None:
    with pytest.raises(InvalidArgument, match="cannot encode"):
        encode([op])


@given(st.lists(st.text(st.characters(exclude_characters="\0"))), st.integers(-(2**63), 2**64 - 1), st.binary())
def test_lengths_are_true(words: list[str], number: int, content: bytes) -> None:
    for op in (ops.execute(words, words), ops.bounding(number), ops.file("x", 0, content)):
        data = encode_op(op)
        assert struct.unpack("<I", data[4:8])[0] == len(data) - 8


def test_constructors_follow_the_schema() -> None:
    for code, (name, _, types, names) in ops.SCHEMA.items():
        constructor = getattr(ops, name)
        assert list(inspect.signature(constructor).parameters) == list(names)
        assert len(types) == len(names)
        assert constructor(*names) == (code, *names)


def test_descriptions_name_the_arguments() -> None:
    assert describe(ops.mount("proc", "/proc", 14, ["hidepid=2"])) == "mount fstype='proc' target='/proc' flags=0xe options=['hidepid=2']"
    assert describe(ops.seccomp(b"12345678", 0)) == "seccomp filter=<8 bytes> flags=0x0"
    assert describe(ops.mask(b"/\xff\n")) == "mask path='/\\\\xff\\n'"
    assert describe(ops.loopback()) == "loopback"
    assert describe((9999,)) == "unknown operation 9999"


# --- where the helper is, and how it is started -----------------------------------------------------------------------------


def test_the_packaged_helper() -> None:
    assert helper_path() == helper_path(SimpleNamespace(helper_path="")) == helper_path(SimpleNamespace(helper_path=None))
    assert helper_path().endswith("/estiba/_bin/estiba-init")


def test_another_helper() -> None:
    assert helper_path(SimpleNamespace(helper_path="/bin/true")) == "/bin/true"
    with pytest.raises(FailedPrecondition, match="/nowhere/estiba-init") as caught:
        helper_path(SimpleNamespace(helper_path="/nowhere/estiba-init"))
    assert caught.value.hint is not None


def test_spawn_passes_streams_and_slots() -> None:
    """A plan that fails its check says so on the standard error that it was given."""
    reading, writing = os.pipe()
    plan = plan_descriptor(encode([ops.slot(0, writing, "")]))
    try:
        pid = spawn(helper_path(), "check", plan, keep=[writing], stderr=writing)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 125
    finally:
        os.close(plan)
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"estiba: cannot start container: plan it executes nothing\n"


def test_spawn_without_a_slot() -> None:
    """The twin: a descriptor that is not kept is not open there."""
    reading, writing = os.pipe()
    other, plan = os.dup(writing), plan_descriptor(encode([ops.slot(0, 77, "")]))
    try:
        pid = spawn(helper_path(), "check", plan, stderr=writing)
        os.waitpid(pid, 0)
    finally:
        for descriptor in (plan, writing, other):
            os.close(descriptor)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"estiba: cannot start container: slot 0: descriptor 77 is not open\n"
