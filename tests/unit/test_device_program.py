"""Rules of devices as programs for the kernel."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba.linux.device_program import device_program
from tests.support.ebpf import allows, decode, reachable

ALLOW_ZERO = {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rm"}
DENY_ALL = {"allow": False}


def test_instructions() -> None:
    """One program, instruction by instruction: code, target, source, offset, number."""
    assert decode(device_program([DENY_ALL, ALLOW_ZERO], allowed=True)) == [
        (0x61, 2, 1, 0, 0),  # type = *(u32 *)context
        (0xBF, 3, 2, 0, 0),  # wanted = type
        (0x77, 3, 0, 0, 16),  # wanted >>= 16
        (0x57, 2, 0, 0, 0xFFFF),  # type &= 0xffff
        (0x61, 4, 1, 4, 0),  # major
        (0x61, 5, 1, 8, 0),  # minor
        (0x55, 2, 0, 6, 2),  # unless it is a character device
        (0x55, 4, 0, 5, 1),
        (0x55, 5, 0, 4, 5),  # and 1:5: to the next rule
        (0x57, 3, 0, 0, 4),  # wanted &= w
        (0x55, 3, 0, 2, 0),  # more is wanted: to the next rule
        (0xB7, 0, 0, 0, 1),
        (0x95, 0, 0, 0, 0),  # yes
        (0xB7, 0, 0, 0, 0),
        (0x95, 0, 0, 0, 0),  # no
    ]


@pytest.mark.parametrize(
    ("rules", "default", "yes", "no"),
    [
        ([DENY_ALL, ALLOW_ZERO], True, [("c", 1, 5, "r"), ("c", 1, 5, "rm")], [("c", 1, 5, "rw"), ("b", 1, 5, "r"), ("c", 1, 4, "r")]),
        ([ALLOW_ZERO, DENY_ALL], True, [], [("c", 1, 5, "r")]),
        ([{"allow": False, "type": "b", "major": 8, "access": "w"}], True, [("b", 8, 3, "rm"), ("c", 8, 3, "w")], [("b", 8, 3, "w"), ("b", 8, 3, "rw")]),
        ([], True, [("b", 8, 0, "rwm")], []),
        ([], False, [], [("b", 8, 0, "r")]),
        ([{"allow": True, "type": "a", "major": 10, "minor": -1, "access": ""}], False, [("b", 10, 9, "rwm"), ("c", 10, 1, "w")], [("c", 11, 1, "w")]),
        ([DENY_ALL, {"allow": True, "type": "u", "minor": 7}], False, [("c", 3, 7, "rw")], [("b", 3, 7, "r")]),
        # Parts of an access may come from several rules.
        ([DENY_ALL, {"allow": True, "access": "r"}, {"allow": True, "access": "w"}], False, [("b", 1, 1, "rw")], [("b", 1, 1, "rwm")]),
        # No device has such a number, and a named pipe is no device.
        ([{"allow": True, "major": 1 << 12}, {"allow": True, "minor": 1 << 20}, {"allow": True, "type": "p"}], False, [], [("c", 0, 0, "r")]),
    ],
)  # fmt: skip
def test_answers(rules: list[dict[str, Any]], default: bool, yes: list[tuple[str, int, int, str]], no: list[tuple[str, int, int, str]]) -> None:
    program = device_program(rules, allowed=default)
    assert [allows(program, *access) for access in yes] == [True] * len(yes)
    assert [allows(program, *access) for access in no] == [False] * len(no)


NUMBERS = st.integers(-1, 3)
ACCESS = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
RULES = st.lists(
    st.fixed_dictionaries({"allow": st.booleans(), "type": st.sampled_from("abc"), "major": NUMBERS, "minor": NUMBERS, "access": ACCESS}), max_size=8
)


@given(RULES, st.booleans(), st.sampled_from("bc"), st.integers(0, 3), st.integers(0, 3), ACCESS)
def test_the_last_rule_of_each_access_decides(rules: list[dict[str, Any]], default: bool, kind: str, major: int, minor: int, access: str) -> None:
    program = device_program(rules, allowed=default)
    allowed = dict.fromkeys(access, default)
    for rule in rules:
        if rule["type"] in ("a", kind) and rule["major"] in (-1, major) and rule["minor"] in (-1, minor):
            allowed |= {letter: rule["allow"] for letter in access if letter in rule["access"]}
    assert allows(program, kind, major, minor, access) == all(allowed.values())
    assert reachable(program)
