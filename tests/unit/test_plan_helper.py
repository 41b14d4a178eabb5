"""Where the helper is, and how it is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from estiba.errors import FailedPrecondition
from estiba.plan.helper import helper_path, plan_descriptor, spawn

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
