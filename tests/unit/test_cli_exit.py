"""The end of the command's process: at once, but nothing that was said or registered is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
{before}
from estiba.cli import main
def works(words):
    sys.stdout.write("said")
    sys.stderr.write("told")
    return 3
main.main = works
main.entry()
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", "said"),
        ("import atexit; atexit.register(print, ' tidied', end='')", "said tidied"),
        ("import threading; told = threading.Event(); threading.Thread(target=lambda: told.wait(0.2) or print(' late', end='')).start()", "said late"),
    ],
    ids=["nothing to tidy up", "atexit", "a thread"],
)
def test_exit_loses_nothing(before: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-I", "-c", SCRIPT.format(before=before)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, said, "told")


def test_output_that_cannot_be_written_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-I", "-c", SCRIPT.format(before="")], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert "No space left" in done.stderr
