"""Kernels for guests: those of ../shared/kernels, decompressed once."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[3] / "shared" / "kernels"
UML = KERNELS / "uml-7.2.13-x86_64.xz"


@pytest.fixture(scope="session")
def uml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A User-Mode Linux program, readable by everybody."""
    if not UML.exists():
        pytest.skip("needs the User-Mode Linux kernel of ../shared/kernels")
    path = tmp_path_factory.mktemp("kernel") / "linux"
    path.write_bytes(lzma.decompress(UML.read_bytes()))
    path.chmod(0o755)
    return path
