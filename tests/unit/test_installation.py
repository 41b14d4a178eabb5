"""What `pip install` built: static programs that need nothing of the machine, and one clear line where it cannot build."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import estiba

TOP = Path(__file__).resolve().parents[2]
PROGRAMS = Path(next(iter(estiba.__path__))) / "_bin"
PT_INTERP, PT_DYNAMIC = 3, 2


def program_headers(path: Path) -> set[int]:
    """The kinds of an ELF file's program headers (elf(5), 64 bit, little endian)."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return {struct.unpack_from("<I", data, offset + index * size)[0] for index in range(count)}


@pytest.mark.parametrize("name", ["estiba-init", "estiba-hello", "estiba-workload"])
def test_program_is_static(name: str) -> None:
    assert not program_headers(PROGRAMS / name) & {PT_INTERP, PT_DYNAMIC}
    assert os.access(PROGRAMS / name, os.X_OK)


def test_check_can_fail() -> None:
    assert PT_INTERP in program_headers(Path("/bin/sh").resolve())


def test_package_is_typed() -> None:
    assert (PROGRAMS.parent / "py.typed").is_file()


def test_missing_compiler_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)],
        cwd=TOP,
        env=os.environ | {"CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "Warning" not in line]
    assert said[-2:] == [
        "estiba: cannot compile its C programs: no C compiler (looked for no-such-compiler)",
        "hint: as root: apt-get install gcc libc6-dev linux-libc-dev make",
    ]
    assert "Traceback" not in done.stderr
