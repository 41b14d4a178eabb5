"""The launcher: compiled, put into the places where wheels put it, and started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import estiba

SOURCE = Path(__file__).parents[2] / "helper" / "launcher" / "launcher.c"
PACKAGE = Path(next(iter(estiba.__path__)))
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = os.path.realpath(sys.executable)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("launcher") / "estiba"
    compiler = shutil.which("musl-gcc") or "cc"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(program)], check=True)
    return program


def install(launcher: Path, prefix: Path, packages: str, interpreter: str | None) -> Path:
    """PREFIX/bin/estiba, the package below PREFIX, and an interpreter beside the launcher (None: none)."""
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(launcher, prefix / "bin" / "estiba")
    if packages:
        (prefix / packages).mkdir(parents=True)
        (prefix / packages / "estiba").symlink_to(PACKAGE)
    if interpreter:
        wrapper = prefix / "bin" / interpreter
        wrapper.write_text(f'#!/bin/sh\necho "$@" >>{prefix}/log\nexec {PYTHON} "$@"\n')
        wrapper.chmod(0o755)
    return prefix / "bin" / "estiba"


def run(program: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *words], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("packages", "interpreter"),
    [
        (f"lib/{VERSION}/site-packages", VERSION),
        (f"lib64/{VERSION}/site-packages", VERSION),
        (f"local/lib/{VERSION}/dist-packages", None),
        ("lib/python3/dist-packages", "python3"),
    ],
)
def test_finds_package_and_interpreter_beside_it(packages: str, interpreter: str | None, launcher: Path, tmp_path: Path) -> None:
    if packages.startswith("local/"):
        packages, prefix, interpreter = packages.removeprefix("local/"), tmp_path / "local", VERSION
    else:
        prefix = tmp_path
    program = install(launcher, prefix, packages, interpreter)
    done = run(program, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"estiba version {estiba.__version__}\n", "")
    log = (prefix / "log").read_text()
    assert log.startswith("-I -S -X utf8 -c import sys")
    assert str(prefix / packages) in log


def test_interpreter_from_path_when_there_is_none_beside(launcher: Path, tmp_path: Path) -> None:
    program = install(launcher, tmp_path / "user", f"lib/{VERSION}/site-packages", None)
    install(launcher, tmp_path / "system", "", VERSION)
    done = run(program, "--version", PATH=f"relative::{tmp_path / 'system' / 'bin'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "system" / "log").exists()


def test_current_folder_never_chooses_the_interpreter(launcher: Path, tmp_path: Path) -> None:
    program = install(launcher, tmp_path / "user", f"lib/{VERSION}/site-packages", None)
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / VERSION).write_text("#!/bin/sh\necho evil\n")
    (evil / VERSION).chmod(0o755)
    for path in (":", ".", "", "evil:"):
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, cwd=evil, env={"PATH": path}, check=False)
        assert "evil" not in done.stdout


def test_newest_python_wins(launcher: Path, tmp_path: Path) -> None:
    program = install(launcher, tmp_path, f"lib/{VERSION}/site-packages", VERSION)
    (tmp_path / "lib/python3.9/site-packages").mkdir(parents=True)
    (tmp_path / "lib/python3.9/site-packages/estiba").symlink_to(PACKAGE)
    assert run(program, "--version").returncode == 0
    assert VERSION in (tmp_path / "log").read_text()


def test_symbolic_link_is_followed(launcher: Path, tmp_path: Path) -> None:
    program = install(launcher, tmp_path / "venv", f"lib/{VERSION}/site-packages", VERSION)
    link = tmp_path / "estiba"
    link.symlink_to(program)
    assert run(link, "--version").stdout == f"estiba version {estiba.__version__}\n"


def test_editable_install_falls_back_to_the_module(launcher: Path, tmp_path: Path) -> None:
    program = install(launcher, tmp_path, "", "python3")
    done = run(program, "--version", PYTHONPATH=str(PACKAGE.parent))
    assert (done.returncode, done.stdout) == (0, f"estiba version {estiba.__version__}\n")
    assert (tmp_path / "log").read_text() == "-P -X utf8 -m estiba --version\n"


def test_no_python_at_all(launcher: Path, tmp_path: Path) -> None:
    program = install(launcher, tmp_path, "", None)
    done = run(program, "--version", PATH=str(tmp_path))
    assert done.returncode == 125
    assert done.stderr == "estiba: cannot start: no python3 beside it or in PATH\nhint: as root: apt-get install python3\n"


def test_python_variables_and_current_folder_stay_out(launcher: Path, tmp_path: Path) -> None:
    """-I: neither PYTHONPATH nor a module in the current folder is ever imported."""
    program = install(launcher, tmp_path, f"lib/{VERSION}/site-packages", VERSION)
    for name in ("os.py", "estiba.py", "select.py", "sitecustomize.py"):
        (tmp_path / name).write_text("print('hijacked')\n")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "os.py"), "PYTHONINSPECT": "1"}
    done = subprocess.run(
        [str(program), "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (0, f"estiba version {estiba.__version__}\n")


def test_words_pass_through_unchanged(launcher: Path, tmp_path: Path) -> None:
    program = install(launcher, tmp_path, f"lib/{VERSION}/site-packages", VERSION)
    done = subprocess.run([os.fsencode(program), b"im\xff", b""], capture_output=True, env={"LC_ALL": "C"}, check=False)
    assert done.returncode == 125
    assert b"unknown command 'im\\" in done.stderr


def test_dependency_of_another_folder_is_found(launcher: Path, tmp_path: Path) -> None:
    """pip installs no dependency that the system has; -S alone would not see it there."""
    program = install(launcher, tmp_path, f"lib/{VERSION}/site-packages", VERSION)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from estiba.cli import main; sys.argv[1:] = ['--version'];"
        "import atexit; atexit.register(lambda: print('site-packages' in str(sys.path) or 'dist-packages' in str(sys.path)));"
        "sys.meta_path.append(main._OtherFolders)\n"
        "try: import a_module_that_nobody_has\nexcept ModuleNotFoundError: print('site' in sys.modules)\n"
    )
    done = subprocess.run([PYTHON, "-I", "-S", "-c", code, str(PACKAGE.parent)], capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n"
    assert program.exists()
