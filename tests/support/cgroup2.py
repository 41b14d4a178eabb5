"""A guest of User-Mode Linux on the host's own files, with control groups of version 2 alone (tests/guest)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
INIT = TOP / "tests" / "guest" / "guest_init.py"
MEMORY = "768M"


def boot(kernel: Path, folder: Path, commands: list[list[str]], *words: str) -> list[dict[str, Any]]:
    """Runs the commands in a guest, whose kernel is given `words`, too; its own exit status says nothing, the line of results does."""
    init = script(folder, "init", commands)
    guest = subprocess.Popen(
        [kernel, f"mem={MEMORY}", "seccomp=on", "lpj=10000000", "quiet", "con0=null,fd:1", "con=null", "ssl=null",
         f"uml_dir={folder}/uml", "umid=guest", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output = guest.communicate(timeout=400)[0]
    finally:
        if guest.poll() is None:
            os.killpg(guest.pid, signal.SIGKILL)
            guest.wait()
    lines = [line for line in output.splitlines() if line.startswith("RESULTS ")]
    assert lines, output
    results: list[dict[str, Any]] = json.loads(lines[0].removeprefix("RESULTS "))
    return results


def script(folder: Path, name: str, commands: list[list[str]]) -> Path:
    """A program of the guest that runs commands and prints their results as the line that `boot` returns."""
    path = folder / name
    (folder / f"{name}.json").write_text(json.dumps(commands))
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -B {INIT} {folder}/{name}.json {TOP}\n")
    path.chmod(0o755)
    return path
