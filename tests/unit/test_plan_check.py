"""The helper's decoder: what `estiba-init check` takes and refuses. The program under test is built with the sanitizers."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estiba.plan import ops
from estiba.plan.encode import HEADER_SIZE, encode, encode_op
from estiba.plan.helper import helper_path, plan_descriptor

if TYPE_CHECKING:
    from estiba.plan.ops import Op

HOST: list[Op] = [ops.slot(0, 0, "/layers"), ops.namespaces(0x20000), ops.streams(1, 0, 0, 0), ops.client(1, 1)]
CONTAINER: list[Op] = [ops.root(0, 0), ops.pivot(), ops.execute(["true"], ["A=B"])]
MACHINE = ops.machine(["/linux"], [], "/initramfs", "/init", [], b"plan", 1, 0, 0, 0xFFFFFFFF, 0, b"", "/disk", 0xFFFFFFFF)
JOIN: list[Op] = [HOST[0], *HOST[2:], ops.join(0, 0x10020000)]
TOOLS: list[Op] = [ops.overlay(0, ["a", "/"], 0xFFFFFFFF, 0, 0), ops.container_mount("/x"), ops.pivot()]
AFTER: list[Op] = [ops.forget(0, "name")]


def check(program: str, plan: bytes) -> tuple[int, bytes]:
    """Exit status and standard error."""
    descriptor = plan_descriptor(plan)
    try:
        done = subprocess.run(
            [program, "check", str(descriptor)], pass_fds=[descriptor], env={}, capture_output=True, timeout=60, check=False
        )
    finally:
        os.close(descriptor)
    return done.returncode, done.stderr


def check_ops(program: str, plan: list[Op]) -> tuple[int, bytes]:
    """The same for operations; slots of descriptor 0 get one that is open."""
    with open(os.devnull, "rb") as held:
        bound = [(*op[:2], held.fileno(), *op[3:]) if op[0] == 1 and op[2] == 0 else op for op in plan]
        descriptor = plan_descriptor(encode(bound))
        try:
            done = subprocess.run(
                [program, "check", str(descriptor)],
                pass_fds=[descriptor, held.fileno()],
                env={},
                capture_output=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(descriptor)
    return done.returncode, done.stderr


def test_a_plan_that_makes_sense(sanitized: str) -> None:
    assert check_ops(sanitized, HOST + CONTAINER + AFTER) == (0, b"")
    assert check_ops(helper_path(), HOST + CONTAINER + AFTER) == (0, b"")
    assert check_ops(helper_path(), [*HOST, *CONTAINER[:-1], MACHINE, *AFTER]) == (0, b"")
    assert check_ops(sanitized, [*JOIN, CONTAINER[-1]]) == (0, b"")
    assert check_ops(sanitized, [*JOIN, *TOOLS, CONTAINER[-1]]) == (0, b"")


def without(plan: list[Op], code: int) -> list[Op]:
    return [op for op in plan if op[0] != code]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (without(HOST, 3) + CONTAINER, "it has no mount namespace of its own"),
        ([*without(HOST, 3), ops.namespaces(0x20000000), *CONTAINER], "it has no mount namespace of its own"),
        ([*without(HOST, 3), ops.namespaces(0x20100), *CONTAINER], "namespaces has a flag that is not a namespace's"),
        (without(HOST, 1) + CONTAINER, "root names a slot that is not bound"),
        ([*HOST, ops.slot(0, 0, "/x"), *CONTAINER], "a slot is bound twice"),
        ([*HOST, ops.slot(256, 0, "/x"), *CONTAINER], "a slot's number is too large"),
        ([*HOST, ops.slot(1, 0, "relative"), ops.root(1, 0), *CONTAINER[1:]], "root names a slot without an absolute path"),
        ([*HOST, ops.log(5, "log", 0, 1), *CONTAINER], "log names a slot that is not bound"),
        ([*HOST, ops.log(0xFFFFFFFF, "log", 0, 1), *CONTAINER], "log names a slot that is not bound"),
        ([*HOST, ops.listen(0, "../name"), *CONTAINER], "listen has a name that is not one path component"),
        ([*HOST, ops.listen(0, ".."), *CONTAINER], "listen has a name that is not one path component"),
        ([*HOST, ops.client(1, 1), *CONTAINER], "client stands twice"),
        ([*without(HOST, 6), ops.streams(3, 0, 0, 0), *CONTAINER], "streams has an unknown kind"),
        ([*HOST, *without(CONTAINER, 57)], "it executes nothing"),
        ([*HOST, *without(CONTAINER, 57), ops.execute([], [])], "execute has no program"),
        ([*HOST, *CONTAINER, ops.mask("/x")], "execute is not the container's last operation"),
        ([*HOST, *without(CONTAINER, 33)], "it needs one root, and a pivot into it"),
        ([*HOST, *without(CONTAINER, 47)], "it needs one root, and a pivot into it"),
        ([*HOST, ops.root(0, 0), *CONTAINER], "it needs one root, and a pivot into it"),
        ([*HOST, ops.overlay(0, [], 0xFFFFFFFF, 0, 0), *CONTAINER[1:]], "overlay has no lower layer"),
        ([*HOST, ops.mount("proc", "/proc", 0, []), *CONTAINER], "mount comes before the root"),
        ([*HOST, *CONTAINER[:2], ops.mask("/x"), *CONTAINER[2:]], "mask comes after the pivot"),
        ([*HOST, ops.root(0, 0), ops.console(), *CONTAINER[1:]], "console needs streams of a pseudo-terminal"),
        ([*HOST, *CONTAINER[:2], ops.seccomp(b"1234567", 0), *CONTAINER[2:]], "seccomp has a filter of an impossible size"),
        ([*HOST, *CONTAINER[:2], ops.seccomp(b"", 0), *CONTAINER[2:]], "seccomp has a filter of an impossible size"),
        ([*HOST, *CONTAINER, ops.forget(0, "a/b")], "forget has a name that is not one path component"),
        ([*HOST, *CONTAINER, ops.discard(0, "name", 0, 9)], "discard names a slot that is not bound"),
        ([*HOST, *CONTAINER, ops.remove_cgroup(0, "")], "remove_cgroup has a name that is not one path component"),
        ([*HOST, *CONTAINER, ops.streams(1, 0, 0, 0)], "streams is out of order"),
        ([*CONTAINER, *HOST], "slot is out of order"),
        ([*HOST, *CONTAINER, ops.unpack_whiteout("x")], "unpack_whiteout does not belong here"),
        ([*HOST, *CONTAINER, ops.files_stat(0, "", 0)], "files_stat does not belong here"),
        ([ops.guest_slot(1, "/"), *HOST, *CONTAINER], "guest_slot does not belong here"),
        ([*HOST, ops.guest_directory("/", 0), *CONTAINER], "guest_directory is out of order"),
        ([*HOST, *CONTAINER[:-1], (*MACHINE[:1], [], *MACHINE[2:])], "machine has no program"),
        ([*HOST, *CONTAINER[:-1], (*MACHINE[:-1], 9)], "machine names a slot that is not bound"),
        ([*HOST, *CONTAINER[:-1], ops.rest()], "rest belongs to a guest"),
        ([*HOST, *CONTAINER[:-1], ops.rest(), CONTAINER[-1]], "rest is not the container's last operation"),
        ([*HOST, *CONTAINER[:-1], MACHINE, CONTAINER[-1]], "machine is not the container's last operation"),
        ([*HOST, *CONTAINER[:-1], MACHINE, MACHINE], "machine stands twice"),
        ([*HOST, ops.container_root(0, 1), *CONTAINER], "container_root does not belong here"),
        ([*HOST, ops.container_mount("/x"), *CONTAINER], "container_mount does not belong here"),
        ([*HOST, ops.upper_tree(0), *CONTAINER], "upper_tree does not belong here"),
        ([*HOST, ops.binfmt(0, ":"), *CONTAINER], "binfmt comes before the root"),
        ([*HOST, *CONTAINER[:2], ops.binfmt(0, ":"), CONTAINER[2]], "binfmt comes after the pivot"),
        ([*HOST, CONTAINER[0], ops.binfmt(7, ":"), *CONTAINER[1:]], "binfmt names a slot that is not bound"),
        ([*HOST, ops.guard(0, "x"), *CONTAINER], "guard does not belong here"),
        (JOIN, "it executes nothing"),
        ([*JOIN, JOIN[-1], CONTAINER[-1]], "join stands twice"),
        ([*JOIN[:-1], ops.join(7, 0x20000), CONTAINER[-1]], "join names a slot that is not bound"),
        ([*JOIN[:-1], ops.join(0, 0x10000000), CONTAINER[-1]], "join needs the container's mount namespace"),
        ([*JOIN[:-1], ops.join(0, 0x20100), CONTAINER[-1]], "join has a flag that is not a namespace's"),
        ([*JOIN, *CONTAINER], "root does not belong here"),
        ([*JOIN, HOST[1], CONTAINER[-1]], "namespaces does not belong here"),
        ([*JOIN, ops.mask("/x"), CONTAINER[-1]], "mask does not belong here"),
        ([*JOIN, *TOOLS[:2], CONTAINER[-1]], "it needs one root, and a pivot into it"),
        ([*JOIN, *TOOLS[2:], CONTAINER[-1]], "it needs one root, and a pivot into it"),
        ([*JOIN, TOOLS[0], *TOOLS, CONTAINER[-1]], "it needs one root, and a pivot into it"),
        ([*JOIN, TOOLS[1], CONTAINER[-1]], "container_mount does not fit its root"),
        ([*JOIN, ops.init(), CONTAINER[-1]], "init does not belong here"),
        ([*JOIN, CONTAINER[-1], *AFTER], "forget does not belong here"),
        ([], "it executes nothing"),
    ],
)
def test_plans_that_make_no_sense(sanitized: str, plan: list[Op], reason: str) -> None:
    assert check_ops(sanitized, plan) == (125, f"estiba: cannot start container: plan {reason}\n".encode())


def framed(body: bytes, count: int) -> bytes:
    return b"ESTIBA\0" + bytes([ops.VERSION]) + struct.pack("<II", HEADER_SIZE + len(body), count) + body


MASK = encode_op(ops.mask("/x"))


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (b"", "its size is not possible"),
        (b"ESTIBA\0\1", "its size is not possible"),
        (b"ESTIBA\0\2" + encode([])[8:], "it is not a plan of this version"),
        (b"estiba\0\1" + encode([])[8:], "it is not a plan of this version"),
        (framed(MASK, 1)[:-1], "its length is not the one it states"),
        (framed(MASK, 1) + b"\0", "its length is not the one it states"),
        (framed(MASK + b"12345678", 1), "something follows its last operation"),
        (framed(MASK, 2), "it states more operations than it holds"),
        (framed(MASK, 2**32 - 1), "it states more operations than it holds"),
        (framed(MASK + b"\x29\0\0\0\xff\xff\xff\xff", 2), "an operation is cut short"),
        (framed(MASK + b"\x29\0\0\0\7\0\0\0", 2), "an operation is cut short"),
        (framed(b"\x29\0\1\0" + MASK[4:], 1), "an unknown operation"),
        (framed(struct.pack("<HHI", 9999, 0, 0), 1), "an unknown operation"),
        (framed(struct.pack("<HHII", 41, 0, 6, 0xFFFFFFFF) + b"x\0", 1), "an argument is malformed"),
        (framed(struct.pack("<HHII", 41, 0, 6, 2) + b"xy", 1), "an argument is malformed"),
        (framed(struct.pack("<HHII", 41, 0, 7, 2) + b"x\0\0", 1), "an argument is malformed"),
        (framed(struct.pack("<HHII", 41, 0, 6, 1) + b"xy", 1), "an argument is malformed"),
        (framed(struct.pack("<HHII", 41, 0, 7, 1) + b"x\0\0", 1), "an operation has more arguments than its schema"),
        (framed(struct.pack("<HHI", 41, 0, 0), 1), "an argument is malformed"),
        (framed(struct.pack("<HHIII", 57, 0, 8, 2**32 - 1, 0), 1), "an argument is malformed"),
    ],
)
def test_bytes_that_are_no_plan(sanitized: str, plan: bytes, reason: str) -> None:
    assert check(sanitized, plan) == (125, f"estiba: cannot start container: plan {reason}\n".encode())


@pytest.mark.parametrize("descriptor", ["", "x", "-1", "4294967296", "3 "])
def test_descriptors_that_are_none(descriptor: str) -> None:
    done = subprocess.run([helper_path(), "check", descriptor], env={}, capture_output=True, check=False)
    assert done.returncode == 125
    assert done.stderr == b"estiba: cannot run estiba-init: it takes a command and the descriptor of a plan\n"


def test_a_descriptor_that_cannot_be_read() -> None:
    reading, writing = os.pipe()
    done = subprocess.run([helper_path(), "check", str(reading)], pass_fds=[reading], env={}, capture_output=True, check=False)
    os.close(reading)
    os.close(writing)
    assert done.stderr.startswith(f"estiba: cannot start container: plan descriptor {reading}: ".encode())
    assert done.stderr.endswith(b" seek\n")  # "Illegal" of glibc is "Invalid" of musl


def survives(program: str, plan: bytes) -> None:
    """An answer, and none of the sanitizers' (they end a program with status 1 and a report)."""
    status, text = check(program, plan)
    assert status in {0, 125}, text.decode(errors="replace")
    assert status == 0 or text.count(b"estiba: cannot") == 1, text.decode(errors="replace")


WHOLE = encode(
    [
        *HOST,
        ops.user_namespace(["0 1000 1", "1 2000 65535"], ["0 1000 1"], 0, "/usr/bin/newuidmap", ""),
        ops.overlay(0, ["a/fs", "b/fs"], 0xFFFFFFFF, 1, 1),
        ops.file("/etc/hosts", 0o644, b"\0" * 40),
        ops.pivot(),
        ops.seccomp(b"12345678" * 4, 0),
        ops.execute(["sh", "-c", "true"], ["A=B", "C=D"]),
        *AFTER,
    ]
)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 40))
@settings(max_examples=150)
def test_changed_bytes(sanitized: str, changes: list[tuple[int, int]], cut: int) -> None:
    plan = bytearray(WHOLE[: len(WHOLE) - cut])
    for place, value in changes:
        if place < len(plan):
            plan[place] = value
    plan[8:12] = struct.pack("<I", len(plan))  # else every change but of this number stops at the header
    survives(sanitized, bytes(plan))


@given(st.lists(st.tuples(st.sampled_from(sorted(ops.SCHEMA)), st.binary(max_size=64)), max_size=8))
@settings(max_examples=150)
def test_random_arguments(sanitized: str, entries: list[tuple[int, bytes]]) -> None:
    survives(sanitized, framed(b"".join(struct.pack("<HHI", code, 0, len(data)) + data for code, data in entries), len(entries)))


def test_noise(sanitized: str) -> None:
    generator = random.Random(zlib.crc32(WHOLE))
    for _ in range(40):
        survives(sanitized, framed(generator.randbytes(generator.randrange(400)), generator.randrange(20)))


def test_a_plan_of_many_operations(sanitized: str) -> None:
    plan = [*HOST, CONTAINER[0], *[ops.mask(f"/{number}") for number in range(20_000)], *CONTAINER[1:]]
    assert check_ops(sanitized, plan) == (0, b"")


def test_a_plan_that_is_too_large() -> None:
    assert check(helper_path(), framed(b"\0" * (16 << 20), 1)) == (
        125,
        b"estiba: cannot start container: plan its size is not possible\n",
    )
