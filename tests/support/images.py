"""Real root file systems: Alpine's where ../shared/images is there, else one made of this machine's own programs."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[3] / "shared" / "images"
VERSIONS = ("3.19.4", "3.20.3")


def alpine_file(version: str, machine: str) -> Path | None:
    path = IMAGES / f"alpine-minirootfs-{version}-{machine}.tar.gz"
    return path if path.is_file() else None


def busybox_root(folder: Path, version: str) -> Path:
    """A root file system around Debian's static busybox, with what tests expect of a small distribution. Made once in a folder."""
    root, archive = folder / f"root-{version}", folder / f"busybox-{version}.tar.gz"
    if archive.exists():
        return archive
    for name in ("bin", "etc", "tmp", "root", "usr/bin", "var", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n")
    (root / "etc/group").write_text("root:x:0:\nwheel:x:10:root\nnogroup:x:65533:\n")
    (root / "etc/alpine-release").write_text(version + "\n")
    subprocess.run(
        ["tar", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "-C", str(root), "-czf", str(archive), "."], check=True
    )
    return archive


@pytest.fixture(scope="session")
def alpine_tars(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions of one small distribution as gzip'ed tars, oldest first: {version: path}."""
    folder = tmp_path_factory.mktemp("alpine")
    machine = platform.machine()
    return {version: alpine_file(version, machine) or busybox_root(folder, version) for version in VERSIONS}


@pytest.fixture(scope="session")
def alpine_tar(alpine_tars: dict[str, Path]) -> Path:
    """The newest of `alpine_tars`."""
    return alpine_tars[VERSIONS[-1]]


@pytest.fixture(scope="session")
def real_alpine(alpine_tar: Path) -> bool:
    """Whether `alpine_tar` is Alpine's own."""
    return alpine_tar.parent == IMAGES


@pytest.fixture(scope="session")
def aarch64_tar() -> Path:
    """Alpine for a 64-bit ARM."""
    found = alpine_file(VERSIONS[-1], "aarch64")
    if found is None or platform.machine() == "aarch64":
        pytest.skip("needs the aarch64 Alpine of ../shared/images, and another machine")
    return found
