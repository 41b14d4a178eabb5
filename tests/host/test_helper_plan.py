"""The plan's decoder and its checks: hostile plans against `estiba-init check` built with the sanitizers."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estiba.plan import ops
from estiba.plan.encode import encode
from estiba.plan.helper import ENVIRONMENT, plan_descriptor
from tests.support.plans import HELPER, NEWNET, NEWNS, NO_SLOT

if TYPE_CHECKING:
    from estiba.plan.ops import Op

ROOT = (ops.slot(0, 3, "/"), ops.namespaces(NEWNS))
INSIDE = (ops.overlay(0, ["base"], NO_SLOT, 0, 0), ops.pivot())
GOOD: tuple[Op, ...] = (
    *ROOT, ops.user_namespace(["0 0 1"], ["0 0 1"], 0, "", ""), ops.streams(1, 1, 0, 0), ops.client(1, 1), *INSIDE,
    ops.user("0", ["1"], 0, 1), ops.seccomp(bytes(16), 0), ops.execute(["a", "b"], ["C=d"]), ops.forget(0, "x"),
)  # fmt: skip


def check(helper: str, plan: bytes, *words: str) -> tuple[int, str]:
    """The helper's verdict: status and what it says. Descriptor 3 is a folder, as slot 0 wants, and 4 the plan."""
    folder, descriptor = os.open("/", os.O_PATH), plan_descriptor(plan)
    said = os.memfd_create("said")
    given = [(os.POSIX_SPAWN_DUP2, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100), at) for at, fd in ((2, said), (3, folder), (4, descriptor))]
    try:
        pid = os.posix_spawn(helper, [helper, *(words or ("check", "4"))], ENVIRONMENT, file_actions=given)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, os.pread(said, 100_000, 0).decode(errors="backslashreplace")
    finally:
        for fd in (folder, descriptor, said, *[fd for _, fd, _ in given]):
            os.close(fd)


def test_good_plan(sanitized: str) -> None:
    for helper in (HELPER, sanitized):
        assert check(helper, encode(GOOD)) == (0, "")


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ([*ROOT, *INSIDE], "it executes nothing"),
        ([ops.slot(0, 3, "/"), *INSIDE, ops.execute(["a"], [])], "it has no mount namespace of its own"),
        ([ops.slot(0, 3, "/"), ops.namespaces(NEWNET), *INSIDE, ops.execute(["a"], [])], "it has no mount namespace of its own"),
        ([*ROOT, ops.execute(["a"], [])], "it needs one root, and a pivot into it"),
        ([*ROOT, INSIDE[0], ops.execute(["a"], [])], "it needs one root, and a pivot into it"),
        ([*ROOT, INSIDE[0], *INSIDE, ops.execute(["a"], [])], "it needs one root, and a pivot into it"),
        ([*ROOT, ops.root(0, 0), *INSIDE, ops.execute(["a"], [])], "root comes before the root"),
        ([*ROOT, ops.pivot(), INSIDE[0], ops.execute(["a"], [])], "it needs one root, and a pivot into it"),
        ([*ROOT, *INSIDE, ops.mask("/x"), ops.execute(["a"], [])], "mask comes after the pivot"),
        ([*ROOT, ops.mask("/x"), *INSIDE, ops.execute(["a"], [])], "mask comes before the root"),
        ([*ROOT, *INSIDE, ops.execute(["a"], []), ops.no_new_privileges()], "execute is not the container's last operation"),
        ([*ROOT, *INSIDE, ops.execute([], [])], "execute has no program"),
        ([*ROOT, *INSIDE, ops.execute(["a"], []), ops.execute(["a"], [])], "execute stands twice"),
        ([*ROOT, ops.streams(3, 0, 0, 0), *INSIDE, ops.execute(["a"], [])], "streams has an unknown kind"),
        ([*ROOT, ops.streams(2, 0, 0, 0), *INSIDE, ops.execute(["a"], [])], "streams of a pseudo-terminal need console"),
        ([*ROOT, INSIDE[0], ops.console(), ops.pivot(), ops.execute(["a"], [])], "console needs streams of a pseudo-terminal"),
        ([ops.slot(0, 3, "/"), ops.namespaces(NEWNS | 0x10000000), *INSIDE, ops.execute(["a"], [])], "namespaces has a flag that is not a namespace's"),
        ([*ROOT, *INSIDE, ops.seccomp(b"", 0), ops.execute(["a"], [])], "seccomp has a filter of an impossible size"),
        ([*ROOT, *INSIDE, ops.seccomp(bytes(12), 0), ops.execute(["a"], [])], "seccomp has a filter of an impossible size"),
        ([*ROOT, ops.log(7, "log", 0, 1), *INSIDE, ops.execute(["a"], [])], "log names a slot that is not bound"),
        ([*ROOT, ops.log(4096, "log", 0, 1), *INSIDE, ops.execute(["a"], [])], "log names a slot that is not bound"),
        ([*ROOT, ops.idmap(7, 0), *INSIDE, ops.execute(["a"], [])], "idmap names a slot that is not bound"),
        ([ops.slot(0, 3, "here"), ops.namespaces(NEWNS), *INSIDE, ops.execute(["a"], [])], "overlay names a slot without an absolute path"),
        ([*ROOT, ops.overlay(0, [], NO_SLOT, 0, 0), ops.pivot(), ops.execute(["a"], [])], "overlay has no lower layer"),
        ([*ROOT, ops.slot(0, 3, "/"), *INSIDE, ops.execute(["a"], [])], "a slot is bound twice"),
        ([*ROOT, ops.slot(256, 3, "/"), *INSIDE, ops.execute(["a"], [])], "a slot's number is too large"),
        ([*ROOT, *INSIDE, ops.execute(["a"], []), ops.namespaces(NEWNS)], "namespaces is out of order"),
        ([*ROOT, *INSIDE, ops.execute(["a"], []), ops.unpack_sync()], "unpack_sync does not belong here"),
        ([*ROOT, *INSIDE, ops.execute(["a"], []), ops.forget(0, "a/b")], "forget has a name that is not one path component"),
        ([*ROOT, ops.listen(0, ".."), *INSIDE, ops.execute(["a"], [])], "listen has a name that is not one path component"),
    ],
)  # fmt: skip
def test_plan_that_makes_no_sense(plan: list[Op], reason: str) -> None:
    status, said = check(HELPER, encode(plan))
    assert (status, said) == (125, f"estiba: cannot start container: plan {reason}\n")


@pytest.mark.parametrize("descriptor", [0, 2, 9, 0x7FFFFFFF, 0xFFFFFFFF])
def test_slot_of_a_descriptor_that_is_not_open(descriptor: int) -> None:
    status, said = check(HELPER, encode([ops.slot(0, descriptor, "/"), *GOOD[1:]]))
    assert (status, said) == (125, f"estiba: cannot start container: slot 0: descriptor {descriptor} is not open\n")


def test_command_line(sanitized: str) -> None:
    plan = encode(GOOD)
    for words in (
        ("nothing", "4"),
        ("check", "5"),
        ("check", "x"),
        ("check",),
        ("check", "4", "4"),
        ("check", "-4"),
        ("check", "99999999999999"),
    ):
        status, said = check(HELPER, plan, *words)
        assert status == 125
        assert said.startswith("estiba: cannot "), said
    done = subprocess.run([HELPER, "--version"], capture_output=True, check=True)
    assert done.stdout == b"estiba-init, protocol %d\n" % ops.VERSION


PLAN = encode(GOOD)


@pytest.mark.parametrize("size", range(0, len(PLAN), 7))
def test_plan_cut_short(sanitized: str, size: int) -> None:
    assert check(sanitized, PLAN[:size])[0] == 125


MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("byte"), st.integers(0, len(PLAN) - 1), st.integers(0, 255)),
        st.tuples(
            st.just("word"), st.integers(0, len(PLAN) - 4), st.sampled_from([0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])
        ),
        st.tuples(st.just("cut"), st.integers(0, len(PLAN) - 1), st.integers(1, 64)),
        st.tuples(st.just("double"), st.integers(0, len(PLAN) - 1), st.integers(1, 64)),
    ),
    min_size=1,
    max_size=4,
)


def mutate(plan: bytes, mutations: list[tuple[str, int, int]]) -> bytes:
    data = bytearray(plan)
    for kind, at, value in mutations:
        at = min(at, max(len(data) - 4, 0))
        if kind == "byte":
            data[at : at + 1] = bytes([value])
        elif kind == "word":
            data[at : at + 4] = value.to_bytes(4, "little")
        elif kind == "cut":
            del data[at : at + value]
        else:
            data[at:at] = data[at : at + value]
    data[8:12] = len(data).to_bytes(4, "little")  # so that the rest is looked at too
    return bytes(data)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(MUTATIONS)
def test_mutated_plans(sanitized: str, mutations: list[tuple[str, int, int]]) -> None:
    """Accepted or refused with one line; nothing is read out of bounds (the sanitizers end the process otherwise)."""
    status, said = check(sanitized, mutate(PLAN, mutations))
    assert status in {0, 125}, said
    if status == 125:
        assert said.startswith("estiba: cannot start container: "), said
        assert said.count("\n") == 1


def test_sanitizers_are_there(sanitized: str) -> None:
    """The twin: without them the fuzz test could not fail."""
    assert b"__asan_report_load" in Path(sanitized).read_bytes()
