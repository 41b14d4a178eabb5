"""The floor under every Python command line: the interpreter's own start, and what common imports add."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench.measure import Job, compare
from bench.report import Result, times
from tests.support.command import command_under_test

if TYPE_CHECKING:
    from pathlib import Path

IMPORTS = ("re", "json", "argparse", "subprocess", "dataclasses", "asyncio")


def measure(folder: Path, runs: int) -> Result:
    environment = {"PATH": "/usr/bin:/bin", "ESTIBA_ROOT": str(folder / "root"), "XDG_RUNTIME_DIR": str(folder)}
    python = sys.executable
    jobs = {
        "python -I -S": Job([python, "-I", "-S", "-c", "pass"], environment),
        "python": Job([python, "-c", "pass"], environment),
        "estiba --version": Job([*command_under_test(), "--version"], environment),
    } | {f"python -I -S, import {name}": Job([python, "-I", "-S", "-c", f"import {name}"], environment) for name in IMPORTS}
    return times("Floor: the interpreter", compare(jobs, runs=runs), {}, subject="estiba --version")
