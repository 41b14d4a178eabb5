"""The linters are ordinary tests: what they say is what fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lint.repository import TOP

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--quiet", "--output-format=concise", "."],
        ["mypy"],
        ["lint-imports", "--no-cache"],
    ],
    ids=lambda command: command[0],
)
def test_linter_has_nothing_to_say(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
