"""A command line without the start of an interpreter: tests that need thousands of them, and judge others, have a fork carry them out."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, NoReturn

from estiba.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


PATIENCE_SECONDS = 60


class Forked:
    """A command that a fork of this process carries out, in a session of its own. `wait` must be called."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.words = words
        self._streams = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self._pid = os.fork()
        if self._pid == 0:
            _become(words, environment, folder, *(file.fileno() for file in self._streams))

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Waits for its end, which must come. What it has left in the background may still hold the streams, so they are files."""
        end = os.pidfd_open(self._pid)
        if not select.select([end], [], [], PATIENCE_SECONDS)[0]:
            os.kill(self._pid, signal.SIGKILL)
        os.close(end)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        told = []
        for file in self._streams:
            file.seek(0)
            told.append(file.read().decode(errors="surrogateescape"))
            file.close()
        return subprocess.CompletedProcess(self.words, code, *told)


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
