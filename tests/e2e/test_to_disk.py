"""`image to-disk`: a disk that boots on its own, with BIOS and with UEFI, on Debian's kernel for clouds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.engine import boot_disk
from estiba.errors import FailedPrecondition
from tests.support.command import command_under_test
from tests.support.erofs import BLOCK, SUPER, Image
from tests.support.images import alpine_file
from tests.unit.test_machine_kernel_file import BZIMAGE

if TYPE_CHECKING:
    from tests.support.command import Command
    from tests.support.users import User

PATIENCE_SECONDS = 120
MACHINE = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-m", "256", "-serial", "stdio"]
UEFI = [
    "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
    "-drive", "if=pflash,format=raw,snapshot=on,file=/usr/share/OVMF/OVMF_VARS_4M.fd",
]  # fmt: skip
# The first boot waits for the power button, the second finds what the first wrote.
PROGRAM = """
trap 'echo stopped; exit 0' TERM
echo "as $(id -u) on $(hostname) with $SAID"
test -e /before && { cat /before; stat -c %u:%g /etc/shadow; exit 7; }
echo written > /before
echo ready
while :; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def store_root(tmp_path_factory: pytest.TempPathFactory, alpine_tar: Path) -> Path:
    """A store with Alpine and what looks like a kernel that a firmware boots."""
    folder = tmp_path_factory.mktemp("disks")
    (folder / "bzImage").write_bytes(BZIMAGE)
    for words in (["kernel", "import", str(folder / "bzImage")], ["import", "-c", 'CMD ["true"]', str(alpine_tar), "alpine"]):
        subprocess.run([*command_under_test(), "--root", str(folder / "root"), *words], check=True, capture_output=True)
    return folder / "root"


@pytest.fixture
def disks(estiba: Command, store_root: Path) -> Command:
    def run(*words: str, **rest: object) -> subprocess.CompletedProcess[str]:
        return estiba("--root", str(store_root), *words, **rest)  # type: ignore[arg-type]  # as `estiba`

    return run


def read_until(process: subprocess.Popen[bytes], word: bytes) -> bytes:
    assert process.stdout is not None
    said = b""
    while word not in said:
        piece = os.read(process.stdout.fileno(), 4096)
        assert piece, said
        said += piece
    return said


def press_power_button(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(path))
        monitor.sendall(b"system_powerdown\n")
        time.sleep(0.2)  # a monitor that is left at once forgets the command


def test_boots_with_both_firmwares_and_keeps_what_was_written(
    disks: Command, tmp_path: Path, store_root: Path, kernel_package: Path
) -> None:
    disk = tmp_path / "disk.qcow2"
    disks("image", "to-disk", "-o", str(disk), "--kernel", str(kernel_package), "-e", "SAID=words", "alpine", "sh", "-c", PROGRAM)
    assert json.loads(subprocess.run(["qemu-img", "info", "--output=json", disk], capture_output=True, check=True).stdout)["format"] == "qcow2"
    monitor = tmp_path / "monitor"
    bios = [*MACHINE, "-monitor", f"unix:{monitor},server,nowait", "-drive", f"file={disk},if=virtio"]
    with subprocess.Popen(bios, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        assert b"as 0 on alpine with words" in read_until(machine, b"ready")
        press_power_button(monitor)
        assert b"stopped" in read_until(machine, b"stopped")
        assert machine.wait(PATIENCE_SECONDS) == 0
    uefi = [*MACHINE, "-M", "q35", *UEFI, "-drive", f"file={disk},if=virtio"]
    done = subprocess.run(uefi, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    assert [line for line in done.stdout.decode(errors="replace").splitlines() if line in ("written", "0:42")] == ["written", "0:42"]
    assert "the program ended with status 7" in done.stdout.decode(errors="replace")
    assert [list((store_root / name).iterdir()) for name in ("ingest", "trash")] == [[], []]


def partitions(disk: Path) -> list[dict[str, object]]:
    table = subprocess.run(["sfdisk", "--json", str(disk)], capture_output=True, check=True)
    assert subprocess.run(["sfdisk", "--verify", str(disk)], capture_output=True, check=True).returncode == 0
    found: list[dict[str, object]] = json.loads(table.stdout)["partitiontable"]["partitions"]
    return found


def test_partitions_are_the_layers(disks: Command, tmp_path: Path, store_root: Path) -> None:
    disk, second = tmp_path / "disk.img", tmp_path / "other.raw"
    disks("image", "to-disk", "-o", str(disk), "--size", "32m", "alpine", "true")
    disks("image", "to-disk", "alpine", "-o", str(second), "--format", "raw", "--size", "32m", "true")
    found = partitions(disk)
    assert [str(part["name"]).rpartition("-")[2] for part in found] == ["esp", "0", "top"]
    (layer,) = (path for path in store_root.glob("layers/*/erofs"))
    start = int(str(found[1]["start"])) * boot_disk.SECTOR
    assert disk.read_bytes()[start : start + layer.stat().st_size] == layer.read_bytes()
    assert int(str(found[2]["size"])) * boot_disk.SECTOR == 32 << 20
    # Two disks may be in one machine.
    assert not {part["name"] for part in found[1:]} & {part["name"] for part in partitions(second)[1:]}


def test_owners_are_the_images_own_for_an_ordinary_user(user_with_subids: User, alpine_tar: Path) -> None:
    folder = user_with_subids.folder
    shutil.copyfile(alpine_tar, folder / "alpine.tar")
    (folder / "bzImage").write_bytes(BZIMAGE)
    for name in ("alpine.tar", "bzImage"):
        (folder / name).chmod(0o644)
    user_with_subids.estiba("import", "alpine.tar", "alpine")
    user_with_subids.estiba("image", "to-disk", "-o", "disk.raw", "--size", "32m", "--kernel", "./bzImage", "alpine", "true")
    part = partitions(folder / "disk.raw")[1]
    start, size = (int(str(part[name])) * boot_disk.SECTOR for name in ("start", "size"))
    data = (folder / "disk.raw").read_bytes()[start : start + size]
    (blocks,) = struct.unpack_from("<I", data, SUPER + 36)
    (folder / "layer").write_bytes(data[: blocks * BLOCK])
    (shadow,) = (node for path, node in Image(folder / "layer").walk() if path.lstrip(b"/") == b"etc/shadow")
    assert (shadow.uid, shadow.gid) == (0, 42)
    for name in ("disk.raw", "layer", "alpine.tar", "bzImage"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("alpine",), "no --output"),
        (("-o", "here", "alpine"), "it exists"),
        (("-o", "new.vmdk", "--format", "vmdk", "alpine"), "valid values: raw, qcow2"),
        (("-o", "new.raw", "--size", "1m", "alpine"), "at least 16 MiB"),
        (("-o", "new.raw", "--pull", "never", "nothing"), "nothing"),
        (("-o", "/nosuch/new.raw", "alpine"), "cannot write /nosuch/new.raw"),
        (("-o", "new.raw", "--kernel", "alpine", "alpine"), "without one"),
    ],
)
def test_what_cannot_be_made(disks: Command, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "here").touch()
    done = disks("image", "to-disk", *words, status=None)
    assert done.returncode != 0
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("new")] == []


def test_store_without_a_kernel(estiba: Command, alpine_tar: Path) -> None:
    estiba("import", str(alpine_tar), "alpine")
    assert "estiba kernel build machine" in estiba("image", "to-disk", "-o", "disk.raw", "alpine", status=1).stderr


def test_image_of_another_machine(disks: Command) -> None:
    foreign = alpine_file("3.20.3", "aarch64")
    if foreign is None:
        pytest.skip("needs the aarch64 Alpine of ../shared/images")
    disks("import", "--platform", "linux/arm64", str(foreign), "arm")
    assert "its kernel for amd64" in disks("image", "to-disk", "-o", "new.raw", "arm", status=None).stderr


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_disk, "_EFI_LOADER", "/nosuch")
    with pytest.raises(FailedPrecondition) as caught:
        boot_disk.make_boot_disk(str(tmp_path / "disk"), str(tmp_path), b"", b"", "")
    assert caught.value.hint == "install the package systemd-boot-efi"
