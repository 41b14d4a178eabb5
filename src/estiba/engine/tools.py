"""Programs of this machine that some verbs need, and a folder to work in. Not on the start path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from estiba.errors import FailedPrecondition
from estiba.linux.locks import try_flock
from estiba.store.layers import empty_trash
from estiba.store.layout import Store
from estiba.store.publish import ingest_name

#: Where programs are looked for: the caller's PATH may lack those of sbin.
FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin")


def missing(programs: Mapping[str, str]) -> list[str]:
    """Returns the packages of `programs` (program: package) that are not on this machine."""
    return sorted({package for program, package in programs.items() if not _find(program)})


def run(
    what: str,
    program: str,
    package: str,
    *arguments: str,
    stdin: str = "",
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a program in `folder` and returns its standard output; `what` (verb and object) is for errors. Beside its PATH it gets
    `environment` alone.

    Raises FailedPrecondition where it is missing (with the `package` to install) or fails (with its last line).
    """
    path = _find(program)
    if not path:
        raise FailedPrecondition(f"cannot {what}: {program} is missing", hint=f"install the package {package}")
    done = subprocess.run(
        [path, *arguments],
        input=stdin, capture_output=True, text=True, errors="surrogateescape", check=False, cwd=folder,
        env={**(environment or {}), "PATH": ":".join(FOLDERS)},
    )  # fmt: skip
    if done.returncode:
        raise FailedPrecondition(f"cannot {what}: {program}: {last_line(done.stderr.splitlines() or done.stdout.splitlines())}")
    return done.stdout


def last_line(lines: Sequence[str]) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _find(program: str) -> str:
    return next((f"{folder}/{program}" for folder in FOLDERS if os.access(f"{folder}/{program}", os.X_OK)), "")


class Workshop:
    """A new folder in the store's ``ingest/``, gone when its work is done; what a killed process leaves is swept. `path` is absolute."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = ingest_name(store, "work")
        with store.using():  # a sweep does not come between, which would take the folder for a dead process's
            os.mkdir(self.path, 0o700)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try_flock(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.rename(self.path, f"{self._store.trash}/{os.path.basename(self.path)}")
        os.close(self._lock)
        empty_trash(self._store)
