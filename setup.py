"""Builds the C programs of estiba and puts them into the wheel; everything else is in pyproject.toml.

Four static programs: `estiba-init`, `estiba-hello` and `estiba-workload` go into the package (`estiba/_bin`), the launcher becomes the
command `estiba`. Where there is a compiler for arm64, `estiba-init-arm64` goes with them, for guests of that
processor. They are linked with musl where `musl-gcc` works, for they start a fifth of a millisecond sooner than the same programs linked
with glibc; else the C compiler's own static library serves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NoReturn

from setuptools import setup  # first: it brings distutils on Pythons without it
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

from distutils.command.build_scripts import build_scripts  # isort: skip

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))
from estiba.modules import write as write_modules  # noqa: E402 - the package that is built

HELPER = HERE / "helper"
PROGRAMS = HERE / "src" / "estiba" / "_bin"
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s"]
# Includes a header of the kernel: musl-gcc knows none by itself, and without it the helper cannot be compiled.
PROBE = '#include <stdio.h>\n#include <linux/mount.h>\nint main(void) { return puts("ok") < 0; }\n'


def fail(cause: str, hint: str) -> NoReturn:
    """Ends the build with one clear line; a traceback would bury it."""
    sys.exit(f"estiba: cannot compile its C programs: {cause}\nhint: {hint}")


def kernel_headers() -> list[str]:
    """Flags that let musl-gcc find the kernel's headers, after its own (`-idirafter`, gcc(1))."""
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    return ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{triplet}"]


def works(command: list[str]) -> bool:
    """Whether `command` makes a static program that runs here: compiled and run, not guessed."""
    if shutil.which(command[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "probe")
        compiled = subprocess.run(
            [*command, "-static", "-x", "c", "-", "-o", program], input=PROBE, text=True, capture_output=True, check=False
        )
        return compiled.returncode == 0 and subprocess.run([program], capture_output=True, check=False).returncode == 0


def compiler() -> list[str]:
    """The first command that works: $CC, musl-gcc, cc, gcc, clang."""
    chosen = os.environ.get("CC")
    candidates = [chosen.split()] if chosen else [["musl-gcc", *kernel_headers()], ["cc"], ["gcc"], ["clang"]]
    for command in candidates:
        if works(command):
            return command
    tried = ", ".join(command[0] for command in candidates)
    if not any(shutil.which(command[0]) for command in candidates):
        fail(f"no C compiler (looked for {tried})", "as root: apt-get install gcc libc6-dev linux-libc-dev make")
    fail(f"no static program can be linked (tried {tried})", "as root: apt-get install musl-tools linux-libc-dev")


def can_cross_compile() -> bool:
    """Whether static programs for arm64 can be made; that they run, the machines that need them will show."""
    command = ["aarch64-linux-gnu-gcc", "-static", "-x", "c", "-", "-o", os.devnull]
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, input=PROBE, text=True, capture_output=True, check=False).returncode == 0


def call(command: list[str], what: str) -> None:
    """Runs one step of the build; its own output goes to the build's log."""
    try:
        status = subprocess.run(command, cwd=HERE, check=False).returncode
    except FileNotFoundError:
        fail(f"{command[0]} is not installed", f"as root: apt-get install {command[0]}")
    if status != 0:
        fail(f"{what} failed with status {status}", "the lines above this one say where")


def compile_program(cc: list[str], source: Path, program: Path) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    call([*cc, *FLAGS, str(source), "-o", str(program)], f"compiling {source.relative_to(HERE)}")


class BuildPrograms(build_py):
    """Compiles what belongs inside the package, in the tree, so that editable installs have it too."""

    def run(self) -> None:
        cc = compiler()
        PROGRAMS.mkdir(parents=True, exist_ok=True)
        call(["make", "-C", str(HELPER), f"CC={' '.join(cc)}"], "compiling estiba-init")
        if can_cross_compile():
            call(["make", "-C", str(HELPER), "foreign"], "compiling estiba-init for arm64")
        compile_program(cc, HELPER / "hello" / "hello.c", PROGRAMS / "estiba-hello")
        compile_program(cc, HELPER / "workload" / "workload.c", PROGRAMS / "estiba-workload")
        super().run()
        if not self.editable_mode:
            write_modules(self.build_lib)


class BuildLauncher(build_scripts):
    """Compiles the command `estiba`, which is `estiba-runtime` too; setuptools itself knows scripts of text only."""

    def run(self) -> None:
        compile_program(compiler(), HELPER / "launcher" / "launcher.c", Path(self.build_dir) / "estiba")
        shutil.copy2(Path(self.build_dir) / "estiba", Path(self.build_dir) / "estiba-runtime")


class PlatformWheel(bdist_wheel):
    """One wheel for every Python 3 of this machine's architecture: the programs use no interpreter's ABI."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", f"linux_{os.uname().machine}"


setup(
    scripts=["helper/launcher/launcher.c"],  # what makes setuptools call BuildLauncher
    cmdclass={"build_py": BuildPrograms, "build_scripts": BuildLauncher, "bdist_wheel": PlatformWheel},
)
