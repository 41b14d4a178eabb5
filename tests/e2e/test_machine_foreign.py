"""A machine of another processor: its kernel, and the helper that was built for it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.plan.helper import helper_path
from tests.support.images import IMAGES
from tests.support.plans import SOURCES

if TYPE_CHECKING:
    from tests.support.command import Command

ALPINE = IMAGES / "alpine-minirootfs-3.20.3-aarch64.tar.gz"


@pytest.fixture(scope="session")
def arm64_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's kernel of arm64 for clouds, from the package manager, whose own lists stay as they are."""
    folder = tmp_path_factory.mktemp("arm64")
    (folder / "lists" / "partial").mkdir(parents=True)
    options = ["-q", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64", "-o", f"Dir::State::lists={folder}/lists"]

    def apt(program: str, *words: str) -> str:
        done = subprocess.run([program, *options, "-o", f"Dir::Cache={folder}", *words], cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout

    apt("apt-get", "update")
    name = next((word for word in apt("apt-cache", "depends", "linux-image-cloud-arm64").split()[1:] if word.startswith("linux-image-")), "")
    apt("apt-get", "download", name)
    found = list(folder.glob("*.deb"))
    if not found:
        pytest.skip("needs the package linux-image-cloud-arm64")
    return found[0]


@pytest.fixture
def arm64(estiba: Command) -> Command:
    if not ALPINE.exists():
        pytest.skip("needs the aarch64 Alpine of ../shared/images")
    # Into the installed package: it was built before its tests' packages, the compiler among them, were installed.
    subprocess.run(["make", "-s", "-C", str(SOURCES), "foreign", f"PROGRAM={helper_path()}"], check=True)
    estiba("import", "--platform", "linux/arm64", str(ALPINE), "alpine")
    return estiba


def test_image_of_another_processor_runs_on_a_machine_of_its_kind(arm64: Command, arm64_package: Path) -> None:
    arm64("kernel", "import", str(arm64_package))
    script = "uname -m; id -u; grep Seccomp: /proc/self/status; echo err >&2; exit 42"
    done = arm64("run", "--rm", "--isolation", "partial", "--platform", "linux/arm64", "alpine", "sh", "-c", script, status=42)
    assert done.stdout == "aarch64\n0\nSeccomp:\t2\n"
    assert done.stderr == "err\n"
    arm64("run", "-d", "--name", "box", "--isolation", "partial", "--platform", "linux/arm64", "alpine", "sleep", "1000")
    assert arm64("exec", "box", "sh", "-c", script, status=42).stdout == done.stdout
    assert "sleep 1000" in arm64("top", "box").stdout
    arm64("rm", "-f", "box")


def test_what_such_a_machine_has_not(arm64: Command, vmlinux: Path) -> None:
    arm64("kernel", "import", str(vmlinux))
    run = ("run", "--rm", "--platform", "linux/arm64", "--isolation")
    assert "the store holds none of arm64" in arm64(*run, "partial", "alpine", "true", status=125).stderr
    assert "whose processor alone is emulated" in arm64(*run, "full", "alpine", "true", status=125).stderr
    named = arm64(*run, "partial", "--kernel", str(vmlinux), "alpine", "true", status=125)
    assert "it is for amd64, the image is arm64" in named.stderr
