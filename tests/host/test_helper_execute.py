"""What becomes of the program: its status, or the message that says why it could not run."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

import pytest

from estiba.plan import ops

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.plans import Container


def put(tmp_path: Path, name: str, content: bytes, mode: int = 0o755) -> None:
    """A file of the container's upper folder."""
    path = tmp_path / "container" / "upper" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def elf(machine: int, *, order: str = "<", interpreter: bytes = b"", word: int = 2) -> bytes:
    """The head of an ELF program (elf(5)) that nothing can run here."""
    ident = b"\x7fELF" + bytes([word, 1 if order == "<" else 2, 1]) + bytes(9)
    header = ident + struct.pack(order + "HHIQQQIHHHHHH", 2, machine, 1, 0x400000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    program = struct.pack(order + "IIQQQQQQ", 3, 4, 120, 0x400078, 0x400078, len(interpreter) + 1, len(interpreter) + 1, 1)
    return header + program + interpreter + b"\0"


@pytest.mark.parametrize("status", [0, 1, 42, 125, 255])
def test_status_of_the_program(container: Container, status: int) -> None:
    assert container.run("sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [9, 15, 6])
def test_death_by_signal(container: Container, number: int) -> None:
    container.init = True  # PID 1 cannot be killed from inside
    assert container.run("sh", "-c", f"kill -{number} $$").returncode == 128 + number


def test_streams_are_apart(container: Container) -> None:
    done = container.run("sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("name", "content", "status", "message"),
    [
        (None, b"", 127, b"execute tool: not found in the container's PATH\n"),
        (
            "bin/tool",
            b"echo hello\n",
            126,
            b"execute /bin/tool: Exec format error\nhint: a script begins with #! and the path of its interpreter\n",
        ),
        ("bin/tool", b"", 126, b"execute /bin/tool: Exec format error\n"),
        (
            "bin/tool",
            b"#!/no/such/interpreter -x\n",
            127,
            b"execute /bin/tool: its interpreter /no/such/interpreter is not in the container\n",
        ),
        (
            "bin/tool",
            elf(62, interpreter=b"/lib/ld-none.so.1"),
            127,
            b"execute /bin/tool: its interpreter /lib/ld-none.so.1 is not in the container\n",
        ),
        ("bin/tool", elf(183), 126, b"execute /bin/tool is for aarch64, this machine is x86_64: Exec format error\n"),
        ("bin/tool", elf(22, order=">"), 126, b"execute /bin/tool is for s390x, this machine is x86_64: Exec format error\n"),
        ("bin/tool", elf(40, word=1), 126, b"execute /bin/tool is for arm, this machine is x86_64: Exec format error\n"),
        ("bin/tool", elf(999), 126, b"execute /bin/tool is for another machine, this machine is x86_64: Exec format error\n"),
    ],
    ids=["missing", "text", "empty", "script", "interpreter", "aarch64", "s390x", "arm", "unknown"],
)
def test_cannot_execute(container: Container, tmp_path: Path, name: str | None, content: bytes, status: int, message: bytes) -> None:
    if os.uname().machine != "x86_64":
        message = message.replace(b"this machine is x86_64", b"this machine is " + os.uname().machine.encode())
    if name:
        put(tmp_path, name, content)
    done = container.run("tool")
    assert done.returncode == status
    assert done.stderr.startswith(b"estiba: cannot start container: " + message), done.stderr


@pytest.mark.parametrize("word", ["tool", "/bin/tool"])
def test_without_execute_permission(container: Container, tmp_path: Path, word: str) -> None:
    put(tmp_path, "bin/tool", b"#!/bin/sh\n", mode=0o644)
    done = container.run(word)
    assert (done.returncode, done.stderr.split(b": ")[-1]) == (126, b"Permission denied\n")


def test_a_directory(container: Container) -> None:
    done = container.run("/bin")
    assert (done.returncode, done.stderr) == (126, b"estiba: cannot start container: execute /bin: Is a directory\n")


@pytest.mark.parametrize("word", ["", "/no/such/file", "./tool", "bin/none"])
def test_not_there(container: Container, word: str) -> None:
    assert container.run(word).returncode == 127


def test_path_of_the_environment(container: Container, tmp_path: Path) -> None:
    put(tmp_path, "opt/tool", b"#!/bin/sh\necho found\n")
    put(tmp_path, "early/tool", b"#!/bin/sh\necho early\n", mode=0o644)
    assert container.run("tool", environment=["PATH=/early:/none:/opt"]).stdout == b"found\n"


def test_empty_element_of_path_is_the_working_directory(container: Container, tmp_path: Path) -> None:
    put(tmp_path, "opt/tool", b"#!/bin/sh\necho found\n")
    container.directory = "/opt"
    assert container.run("tool", environment=["PATH=/none:"]).stdout == b"found\n"


def test_hostile_names_stay_on_one_line(container: Container) -> None:
    done = container.run("/x\n\x1b[31mhint: y")
    assert done.returncode == 127
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr


def test_report_slot_gets_the_record(container: Container, tmp_path: Path) -> None:
    container.host.append(ops.report(container.file(tmp_path / "report")))
    done = container.run("nope")
    assert (done.returncode, done.stderr) == (127, b"")
    assert (tmp_path / "report").read_bytes() == b"not-found execute 0 nope: not found in the container's PATH\n"


def test_report_of_a_plan_that_cannot_be(container: Container, tmp_path: Path) -> None:
    container.host.append(ops.report(container.file(tmp_path / "report")))
    container.host.append(ops.status(container.file(tmp_path / "status")))
    with open(tmp_path / "status", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = container.run("true")
    assert (done.returncode, done.stderr) == (125, b"")
    kind, step, error, text = (tmp_path / "report").read_bytes().split(b" ", 3)
    assert (kind, step, error) == (b"launch", b"status", b"11")
    assert text.endswith(b"\tthe container runs already\n")


def test_environment_and_arguments_arrive_as_they_are(container: Container) -> None:
    words = [b"printf", b"[%s]", "ñ".encode(), b"\xff\xfe", b"", b"a b\nc", b"x" * 100_000]
    done = container.run(*words)
    assert done.stdout == b"".join(b"[" + word + b"]" for word in words[2:])


@pytest.mark.parametrize(("given", "home"), [([], b"/root\n"), (["HOME=/given"], b"/given\n")])
def test_home(container: Container, given: list[str], home: bytes) -> None:
    assert container.run("sh", "-c", "echo $HOME", environment=["PATH=/bin", *given]).stdout == home


def test_nothing_of_the_callers_environment(container: Container) -> None:
    os.environ["SECRET_OF_THE_CALLER"] = "1"
    try:
        done = container.run("env", environment=["PATH=/bin", "HOME=/"])
    finally:
        del os.environ["SECRET_OF_THE_CALLER"]
    assert done.stdout == b"PATH=/bin\nHOME=/\n"


def test_only_three_descriptors(container: Container) -> None:
    done = container.run("sh", "-c", "ls /proc/self/fd | wc -l; ls /proc/1/fd; true", stdin=b"x")
    assert done.stdout == b"4\n0\n1\n2\n"  # the first counts ls's own; the second is no pipe, which the shell itself would have


def test_closed_streams_of_the_caller(container: Container) -> None:
    """A caller without standard streams: the helper's own descriptors must not take their numbers."""
    container.prefix = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    assert container.run("sh", "-c", "exit 7").returncode == 7


def test_closed_standard_output(container: Container) -> None:
    container.prefix = ["/bin/sh", "-c", 'exec "$@" >&-', "sh"]
    done = container.run("echo", "hello")
    assert (done.returncode, done.stderr) == (1, b"estiba: cannot write standard output: write error: Bad file descriptor\n")
