"""Completion: what could stand at the end of a line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba.cli import complete
from estiba.cli.completion import SCRIPTS
from estiba.cli.context import Context


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "_images", lambda context: ["alpine:3.20", "alpine:latest", "app:1"])


def words(line: str) -> list[str]:
    return [word for word, _ in complete.candidates(line, Context(root="/nonexistent"))]


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("estiba pu", ["pull", "push"]),
        ("estiba image pr", ["prune"]),
        ("estiba image from-host x /bin/s", [":file"]),
        ("estiba --root /x im", ["images", "import", "image"]),
        ("estiba --root ", [":folder"]),
        ("estiba run alpine:3", ["alpine:3.20"]),
        ("estiba run --rm -it al", ["alpine:3.20", "alpine:latest"]),
        ("estiba run -e alp al", ["alpine:3.20", "alpine:latest"]),
        ("estiba run --with ap", ["app:1"]),
        ("estiba run --with=ap", ["--with=app:1"]),
        ("estiba run -itv ", [":file"]),
        ("estiba run alpine ", [":file"]),
        ("estiba run alpine --", [":file"]),
        ("estiba compare alpine --rep", ["--repeat"]),
        ("estiba compare alpine sh --rep", [":file"]),
        ("estiba run --pull ", ["always", "missing", "never"]),
        ("estiba run --pull=ne", ["--pull=never"]),
        ("estiba run --cpus", ["--cpus", "--cpuset-cpus", "--cpuset-mems"]),
        ("estiba images -a al", ["alpine:3.20", "alpine:latest"]),
        ("estiba completion b", ["bash"]),
        ("estiba nope x", []),
        ("estiba run 'alp", ["alpine:3.20", "alpine:latest"]),
    ],
)
def test_candidates(line: str, found: list[str]) -> None:
    assert words(line) == found


def test_hidden_flags_are_not_offered() -> None:
    assert "--cpu-count" not in words("estiba run --")
    assert "--help" in words("estiba run --")
    assert "__complete" not in words("estiba ")


def test_no_store_no_names() -> None:
    assert words("estiba run ") == []


@pytest.mark.usefixtures("names")
@given(st.text(max_size=40))
def test_any_line(line: str) -> None:
    for word, _ in complete.candidates("estiba " + line, Context(root="/nonexistent")):
        assert word


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_parse(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(SCRIPTS[shell])
    program = shutil.which(shell)
    if program is None:
        assert "estiba __complete" in SCRIPTS[shell]
        return
    done = subprocess.run([program, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("estiba compl", ["completion"]),
        ("estiba run --pull=al", ["always"]),
        ("estiba image ", ["ls", "pull"]),
        ("estiba --root ", []),
    ],
)
def test_bash_offers_them(line: str, replies: list[str], tmp_path: Path) -> None:
    """The script in a real bash; readline has split the line at its word breaks."""
    program = tmp_path / "estiba"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m estiba "$@"\n')
    program.chmod(0o755)
    asked = f"COMP_LINE={line!r} COMP_POINT={len(line)}\n_estiba\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    text = SCRIPTS["bash"].replace("compopt", "true") + asked
    done = subprocess.run(
        ["bash", "-c", text],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.stderr == ""
    offered = done.stdout.split()
    assert offered[: len(replies)] == replies
