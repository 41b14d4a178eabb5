"""The command line under test: `estiba`, or what $ESTIBA_UNDER_TEST names (the same cases should pass on docker)."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from pathlib import Path


class Command(Protocol):
    def __call__(
        self, *words: str, stdin: str | bytes = "", status: int | None = 0, timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]: ...


def command_under_test() -> list[str]:
    chosen = os.environ.get("ESTIBA_UNDER_TEST")
    if chosen:
        return shlex.split(chosen)
    beside = os.path.join(os.path.dirname(sys.executable), "estiba")
    if os.access(beside, os.X_OK):
        return [beside]
    found = shutil.which("estiba")
    return [found] if found else [sys.executable, "-m", "estiba"]


@pytest.fixture
def estiba(environment: dict[str, str], tmp_path: Path) -> Command:
    """Runs the command line on the test's own store and checks its exit status (`status=None`: any)."""

    def run(
        *words: str, stdin: str | bytes = "", status: int | None = 0, timeout: float = 60, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*command_under_test(), *words],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=timeout,
            env=environment | extra,
            cwd=tmp_path,
            check=False,
        )
        result = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="surrogateescape")
        )
        assert "Traceback (most recent call last)" not in result.stderr, result.stderr
        if status is not None:
            assert result.returncode == status, f"{words}: status {result.returncode}, not {status}\n{result.stderr}{result.stdout}"
        return result

    return run
