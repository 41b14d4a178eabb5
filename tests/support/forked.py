"""A command line without the start of an interpreter: tests that need thousands of them, and judge others, have a fork carry them out."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, NoReturn

from estiba.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def run_forked(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> str:
    """Carries out a command that must exit with 0, in a session of its own, and returns its standard output."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
        pid = os.fork()
        if pid == 0:
            _become(words, environment, folder, output.fileno(), error.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for file in (output, error):
            file.seek(0)
        told = error.read().decode(errors="surrogateescape")
        assert code == 0, f"{words}: status {code}\n{told}"
        return output.read().decode(errors="surrogateescape")


def _become(words: Sequence[str], environment: Mapping[str, str], folder: Path, output: int, error: int) -> NoReturn:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(error, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.environ.clear()
        os.environ.update(environment)
        code = main(words)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 70
    finally:
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
