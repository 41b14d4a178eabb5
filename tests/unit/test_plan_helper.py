"""Where the helper is, and how it is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from estiba.errors import FailedPrecondition
from estiba.plan.helper import helper_path, plan_descriptor, sealed_helper, spawn

if TYPE_CHECKING:
    from pathlib import Path


class Settings:
    def __init__(self, path: str | None) -> None:
        self.helper_path = path


def test_packaged_helper() -> None:
    assert helper_path() == helper_path(Settings(None))
    assert os.access(helper_path(), os.X_OK)


def test_helper_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "helper"
    with pytest.raises(FailedPrecondition, match="cannot run estiba-init: .*helper is not there or cannot be executed") as caught:
        helper_path(Settings(str(path)))
    assert caught.value.hint
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    assert helper_path(Settings(str(path))) == str(path)


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_plan_descriptor(size: int) -> None:
    data = os.urandom(size)
    descriptor = plan_descriptor(data)
    try:
        assert os.read(descriptor, size + 1) == data
    finally:
        os.close(descriptor)


def test_spawn_gives_streams_and_an_empty_environment() -> None:
    """The shell in the helper's place: `sh run N` fails to find its script and says so where it was told to."""
    plan = plan_descriptor(b"")
    ours, theirs = os.pipe()
    try:
        pid = spawn("/bin/sh", "/proc/self/environ", plan, stderr=theirs, stdout=theirs)
        os.close(theirs)
        with os.fdopen(ours, "rb") as reader:
            said = reader.read()
        assert os.waitpid(pid, 0)[1] == 0
        assert said == b""  # an empty script: the environment is one
    finally:
        os.close(plan)


def test_spawn_of_what_is_not_there() -> None:
    plan = plan_descriptor(b"")
    try:
        with pytest.raises(FileNotFoundError):
            spawn("/no/such/helper", "run", plan)
    finally:
        os.close(plan)


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_sealed_copy(tmp_path: Path) -> None:
    """One copy for many starts, until the file is another; it cannot be written, the twin can."""
    path = program(tmp_path / "helper", "one")
    copy = sealed_helper(path)
    assert sealed_helper(path) == copy
    assert open_text(copy) == "one"
    with pytest.raises(PermissionError):
        os.write(os.open(copy, os.O_WRONLY), b"evil")
    descriptor = os.open(path, os.O_WRONLY)
    assert os.write(descriptor, b"other") == 5
    os.close(descriptor)
    assert open_text(sealed_helper(path)) == "other"


def open_text(path: str) -> str:
    with open(path) as file:
        return file.read()


def test_sealed_copy_whose_descriptor_was_taken(tmp_path: Path) -> None:
    """A program that closes what it does not know: its next file must not be executed in the helper's place."""
    path = program(tmp_path / "helper", "one")
    number = int(sealed_helper(path).rpartition("/")[2])
    other = os.open(program(tmp_path / "other", "other"), os.O_RDONLY)
    os.dup2(other, number)
    os.close(other)
    try:
        assert open_text(sealed_helper(path)) == "one"
    finally:
        os.close(number)
