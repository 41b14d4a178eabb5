"""The repository as the lint tests see it: the files that git knows, and their text."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
SRC = TOP / "src"


@cache
def files(*patterns: str) -> tuple[Path, ...]:
    """Tracked files that match any of the git patterns (all without one), as absolute paths."""
    done = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--", *patterns], cwd=TOP, capture_output=True, text=True, check=True)
    return tuple(path for name in done.stdout.split("\0") if name and (path := TOP / name).is_file() and not path.is_symlink())


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name(path: Path) -> str:
    return str(path.relative_to(TOP))
