"""What the hot commands may import: an allow-list, for a test of time would be a test of the machine.

The interpreter itself says what it imports (`-X importtime`), on the command as it is really started (`-I -S`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import estiba

if TYPE_CHECKING:
    from tests.support.command import Command
    from tests.support.live import Live

SITE = Path(next(iter(estiba.__path__))).parent
BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from estiba.cli.main import isolated; isolated()"

# What `python -I -S -c pass` loads anyway.
INTERPRETER = {
    "_abc", "_codecs", "_collections_abc", "_frozen_importlib", "_frozen_importlib_external", "_imp", "_io", "_signal",
    "_sitebuiltins", "_stat", "_thread", "_warnings", "_weakref", "abc", "builtins", "codecs", "encodings", "encodings.aliases",
    "encodings.utf_8", "errno", "genericpath", "io", "marshal", "os", "os.path", "posix", "posixpath", "site", "stat", "sys", "time", "zipimport",
}  # fmt: skip
# What the start path may add: modules written in C that cost no more than their dlopen, and names for the compiler.
ALLOWED = {"__future__", "resource", "_json", "_struct", "_posixsubprocess", "errno", "fcntl", "math", "select", "_blake2", "binascii"}
IMPORT = re.compile(r"^import time:\s+\d+ \|\s+\d+ \| *(?P<module>\S+)", re.MULTILINE)


def imported_by(*words: str, environment: dict[str, str]) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-X", "importtime", "-c", BOOT, str(SITE), *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    modules = {match["module"] for match in IMPORT.finditer(done.stderr)}
    return modules - INTERPRETER, done


def foreign(modules: set[str]) -> set[str]:
    return {module for module in modules if module.partition(".")[0] != "estiba"} - ALLOWED


def test_version_imports_nothing_heavy(environment: dict[str, str]) -> None:
    modules, done = imported_by("--version", environment=environment)
    assert done.returncode == 0, done.stderr
    assert foreign(modules) == set()


def test_run_imports_nothing_heavy(estiba: Command, environment: dict[str, str]) -> None:
    estiba("run", "--rm", "hello")
    modules, done = imported_by("run", "--rm", "--network", "none", "hello", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "estiba.runtime.launch" in modules, "the command did not get as far as the launch"
    assert foreign(modules) == set()


def test_exec_imports_nothing_heavy(estiba: Command, environment: dict[str, str]) -> None:
    modules, done = imported_by("exec", "none", "true", environment=environment)
    assert "no such container" in done.stderr
    assert "estiba.engine.exec" in modules
    assert "estiba.runtime.exec_spec" in modules
    assert foreign(modules) == set()


def test_exec_in_a_container_imports_nothing_heavy(live: Live) -> None:
    live.start()
    modules, done = imported_by("exec", "-it", "-e", "A=B", "-u", "0", "-w", "/tmp", "box", "true", environment=live.environment)
    assert done.returncode == 0, done.stderr
    assert foreign(modules) == set()


@pytest.mark.parametrize("words", [["ps", "-q"], ["ps", "-aq"], ["ps", "-a"], ["ps", "-a", "--filter", "status=created"]])
def test_ps_imports_nothing_heavy(words: list[str], estiba: Command, environment: dict[str, str]) -> None:
    estiba("update", "--pids-limit", "9", estiba("create", "hello").stdout.strip())  # whose traces cost no later command anything
    modules, done = imported_by(*words, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "estiba.engine.ps" in modules
    assert foreign(modules) == set()


def test_run_on_another_kernel_imports_nothing_heavy(estiba: Command, environment: dict[str, str], uml: Path) -> None:
    words = ("run", "--rm", "--isolation", "para", "--kernel", str(uml), "hello")
    estiba(*words)
    modules, done = imported_by(*words, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "estiba.machine.uml" in modules
    assert foreign(modules) == set()


@pytest.mark.parametrize("module", ["re", "json", "typing"])
def test_list_can_fail(module: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", f"import {module}"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert foreign({match["module"] for match in IMPORT.finditer(done.stderr)} - INTERPRETER)


def test_import_of_the_library_is_a_map(environment: dict[str, str]) -> None:
    """`import estiba` names things and loads nothing."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", f"import sys; sys.path.insert(0, {str(SITE)!r}); import estiba"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert foreign({match["module"] for match in IMPORT.finditer(done.stderr)} - INTERPRETER) == set()
