"""Records of `files-write` that nobody would send, carried out by a helper with the sanitizers."""

from __future__ import annotations

import random
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estiba.plan import ops
from estiba.plan.encode import encode_op
from tests.host.test_files_jail import SCRIPT, View
from tests.support.plans import SANITIZED, SOURCES
from tests.support.soak import times

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.plan.ops import Op
    from tests.support.live import Live

LONG, DEEP = "n" * 250, "d/" + "e/" * 2040 + "x"
PATHS = st.one_of(
    st.sampled_from(["", ".", "..", "d", "d/f", "d/l", "d/p", "d/e", "abs/f", "/d", "d/../d", "new", "new/x", LONG, DEEP, "x" * 4095]),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40),
)
NUMBERS = st.one_of(st.sampled_from([0, 1, 2, 3, 4, 0o7777, 0o644, 65535, 65536, 0x7FFFFFFF, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF))
LARGE = st.one_of(st.sampled_from([0, 1, 1 << 20, (1 << 63) - 1, -1, -(1 << 63)]), st.integers(-(1 << 63), (1 << 63) - 1))
BYTES = st.binary(max_size=300)
RECORDS = [code for code, (_, side, _, _) in ops.SCHEMA.items() if side == "files"] + [next(c for c, e in ops.SCHEMA.items() if e[0] == "unpack_data")]
TYPES = {"u": NUMBERS, "q": LARGE, "s": PATHS, "b": BYTES}

SMALL = {name: st.integers(0, most) for name, most in (("tree", 2), ("kind", 4), ("folder", 1), ("follow", 2), ("uid", 2))}


@st.composite
def record(draw: st.DrawFn) -> Op:
    """A record of the right form; what it says makes sense now and then."""
    code = draw(st.sampled_from(RECORDS))
    _, _, types, names = ops.SCHEMA[code]
    values: list[Any] = [draw(SMALL.get(name, TYPES[kind])) for kind, name in zip(types, names, strict=True)]
    return (code, *values)


@pytest.fixture
def send(live: Live) -> Callable[[bytes], int]:
    subprocess.run(["make", "-s", "-C", str(SOURCES), "sanitize"], check=True)
    live.start(SCRIPT)
    live.stop()
    view = View(live)
    sanitized = view.settings.replace(helper_path=SANITIZED)

    def send(data: bytes) -> int:
        with view(write=True, settings=sanitized) as jail:
            jail._parts.append(data)
            try:
                jail.flush()
            except Exception:  # it has ended already: what it says is looked at below
                jail._parts.clear()
            jail._close_input()
            said = jail.last_words()
            assert b"Sanitizer" not in said, said.decode(errors="replace")
            assert b"runtime error" not in said, said.decode(errors="replace")
            assert jail.wait() in {0, 1}, said
            return jail.wait()

    return send


@pytest.mark.parametrize("_round", times(1, 30))
def test_records_that_make_no_sense(send: Callable[[bytes], int], _round: int) -> None:
    @settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
    @given(st.lists(record(), min_size=1, max_size=8))
    def carried_out(records: list[Op]) -> None:
        send(b"".join(encode_op(each) for each in records))

    carried_out()


WHOLE = b"".join(
    encode_op(each)
    for each in (
        ops.files_base(0, "/d"),
        ops.files_list(0, ""),
        ops.files_stat(0, "/d/l", 2),
        ops.files_make(0, "n", "", 0, 0, 0o755, 0, 0),
        ops.files_open(0, "n/f", 6, 3, 4),
        ops.unpack_data(2, b"content"),
        ops.files_xattr("user.name", b"value"),
        ops.files_close(0o644, 1, 2),
        ops.files_read(0, "n/f"),
        ops.files_make(1, "n/l", "target", 0, 0, 0, 0, 0),
        ops.files_make(3, "n/h", "n/f", 0, 0, 0, 0, 0),
    )
)


@pytest.mark.parametrize("_round", times(1, 30))
def test_bytes_that_are_no_records(send: Callable[[bytes], int], _round: int) -> None:
    assert send(WHOLE) == 0
    dice = random.Random(zlib.crc32(WHOLE) + _round)
    for _ in range(30):
        data = bytearray(WHOLE[: dice.randrange(len(WHOLE) + 1)])
        for _ in range(dice.randrange(4)):
            if data:
                data[dice.randrange(len(data))] = dice.randrange(256)
        send(bytes(data))
        code = dice.choice(RECORDS)
        noise = dice.randbytes(dice.randrange(80))
        send(struct.pack("<HHI", code, 0, len(noise)) + noise)


def test_a_program_with_an_error_would_be_seen(live: Live) -> None:
    """The twin: the sanitized helper says what it is, so that its silence means something."""
    subprocess.run(["make", "-s", "-C", str(SOURCES), "sanitize"], check=True)
    symbols = subprocess.run(["nm", "-D", SANITIZED], capture_output=True, text=True, check=True).stdout
    assert "__asan_init" in symbols
    assert "__ubsan_handle" in symbols
