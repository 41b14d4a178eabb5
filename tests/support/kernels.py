"""Kernels for guests: those of ../shared/kernels, decompressed once."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[3] / "shared" / "kernels"
UML = KERNELS / "uml-7.2.13-x86_64.xz"
VMLINUX = KERNELS / "vmlinux-6.1.192-x86_64.xz"


def decompressed(source: Path, folder: Path) -> Path:
    if not source.exists():
        pytest.skip("needs the kernels of ../shared/kernels")
    path = folder / "linux"
    path.write_bytes(lzma.decompress(source.read_bytes()))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def uml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A User-Mode Linux program, readable by everybody."""
    return decompressed(UML, tmp_path_factory.mktemp("kernel"))


@pytest.fixture(scope="session")
def vmlinux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel for QEMU, readable by everybody."""
    return decompressed(VMLINUX, tmp_path_factory.mktemp("kernel"))


@pytest.fixture(scope="session")
def kernel_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's kernel for clouds, which a firmware boots, from the package manager."""
    folder = tmp_path_factory.mktemp("package")
    depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=False).stdout
    name = next((word for word in depends.split()[1:] if word.startswith("linux-image-")), "")
    subprocess.run(["apt-get", "-q", "download", name], cwd=folder, capture_output=True, check=False)
    found = list(folder.glob("*.deb"))
    if not found:
        pytest.skip("needs the package linux-image-cloud-amd64")
    return found[0]


@pytest.fixture
def rung(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The flags of `run` for a rung: para, or what a test is parametrised with (`EVERY_RUNG`)."""
    name = getattr(request, "param", "para")
    kernel = request.getfixturevalue("uml" if name == "para" else "vmlinux")
    return ("--isolation", name, "--kernel", str(kernel))


EVERY_RUNG = pytest.mark.parametrize("rung", ["para", "partial"], indirect=True)
AND_FULL = pytest.mark.parametrize("rung", ["para", "partial", "full"], indirect=True)
FULL = pytest.mark.parametrize("rung", ["full"], indirect=True)
