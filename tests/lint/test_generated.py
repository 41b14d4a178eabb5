"""Files that are made from a source equal what their maker would write now."""

from __future__ import annotations

import subprocess
import sys

from tests.lint.repository import TOP
from tools import generate_seccomp, reference


def test_vocabulary_of_plans() -> None:
    """C and Python from one source: helper/ops.toml."""
    done = subprocess.run([sys.executable, "tools/generate_ops.py", "--check"], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_default_filter() -> None:
    assert generate_seccomp.TARGET.read_text() == generate_seccomp.text(), "run: python tools/generate_seccomp.py"
    assert generate_seccomp.MONITOR_TARGET.read_text() == generate_seccomp.monitor_text(), "run: python tools/generate_seccomp.py"


def test_reference_of_the_command_line() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run: python tools/reference.py docs"
