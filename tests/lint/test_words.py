"""What the repository must not contain: paths of one machine, unfinished work, silenced errors."""

from __future__ import annotations

import re

import pytest

from tests.lint.repository import TOP, files, name, text

# Written in halves, so that this file does not contain what it looks for.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", r"\b" + "X" * 3 + r"\b", "HA" + "CK" + r"\b")))
CONFLICT = re.compile(r"^(<{7}|>{7}|={7})( |$)", re.MULTILINE)
# Folders of somebody's machine: a home, a workplace, a version manager.
MACHINE_PATH = re.compile(r"(?<![\w.}/-])/(work|root|farm|home/\w+|Users)/[\w.]")
SILENCED = re.compile(r"# (noqa|type: ignore)(?P<what>[^#\n]*)")
TEXT = ("*.py", "*.c", "*.h", "*.md", "*.toml", "*.sh", "*.json", "*.svg", "Makefile", ".ci/run", "tests/setup/*")


def found(pattern: re.Pattern[str], *patterns: str) -> list[str]:
    return [
        f"{name(path)}:{number}: {line.strip()}"
        for path in files(*patterns)
        if path.is_relative_to(TOP)
        for number, line in enumerate(text(path).splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("pattern", [UNFINISHED, CONFLICT], ids=["unfinished", "conflict"])
def test_nothing_is_left_for_later(pattern: re.Pattern[str]) -> None:
    assert found(pattern, *TEXT) == []


def test_no_path_of_one_machine() -> None:
    # /root is also the home of root inside images: tests and container code may name it.
    lines = found(MACHINE_PATH, "*.md", "*.toml", "Makefile", ".ci/run", "bench/*", "tools/*", "setup.py")
    assert lines == []


def test_silenced_lines_give_their_reason() -> None:
    """`# noqa: CODE - reason`, `# type: ignore[code]  # reason`; a bare one silences more than was meant."""
    bad = []
    for line in found(SILENCED, "src/*.py", "setup.py", "tools/*.py"):
        comment = line[line.index("# ") :]
        has_code = re.search(r"# noqa: [A-Z]+\d+|# type: ignore\[[\w-]+\]", comment)
        has_reason = re.search(r"( - |  # |# .*# )\S", comment)
        if not (has_code and has_reason):
            bad.append(line)
    assert bad == []

