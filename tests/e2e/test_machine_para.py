"""`run --isolation para`: the same image, streams and exit codes on a User-Mode Linux kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.support.command import Command

    Guest = Callable[..., CompletedProcess[str]]


@pytest.fixture
def guest(box: Command, uml: Path) -> Guest:
    """As `box`, on a kernel of its own."""

    def run(*words: str, **rest: object) -> CompletedProcess[str]:
        words = words if "--" in words else ("--", *words)
        return box("--isolation", "para", "--kernel", str(uml), *words, **rest)  # type: ignore[arg-type]

    return run


def test_image_runs_on_another_kernel(guest: Guest) -> None:
    release, version = guest("sh", "-c", "cat /etc/alpine-release; uname -r").stdout.split()
    assert release == "3.20.3"
    assert version == "7.2.13-estiba"


def test_streams_are_apart(guest: Guest) -> None:
    done = guest("sh", "-c", "echo out; echo err >&2; exit 42", status=42)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_input_and_its_end(guest: Guest) -> None:
    text = "".join(f"{number}\n" for number in range(20000))
    assert guest("-i", "--", "cat", stdin=text).stdout == text


@pytest.mark.parametrize(("command", "status"), [("/nosuch", 127), ("/etc", 126)])
def test_what_cannot_be_executed(guest: Guest, box: Command, command: str, status: int) -> None:
    assert guest(command, status=status).stderr == box(command, status=status).stderr


def test_status_by_signal(guest: Guest) -> None:
    guest("--init", "--", "sh", "-c", "kill -TERM $$; sleep 5", status=143)
