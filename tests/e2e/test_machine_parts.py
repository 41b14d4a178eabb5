"""`run --isolation partial --emulate`, `full` and `auto`: which parts of a machine are emulated, and which rung is taken."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import kvm, machine_doctor
from tests.support.plans import comm, descendants

if TYPE_CHECKING:
    from tests.support.command import Command


@pytest.fixture
def store(estiba: Command, alpine_tar: Path, vmlinux: Path) -> Command:
    estiba("import", str(alpine_tar), "alpine")
    estiba("kernel", "import", str(vmlinux))
    return estiba


def isolation(estiba: Command, *words: str) -> tuple[str, str]:
    """The rung that a new container gets, and why."""
    container = estiba("create", *words, "alpine", "true").stdout.strip()
    (document,) = json.loads(estiba("inspect", container).stdout)
    estiba("rm", container)
    return str(document["HostConfig"]["Isolation"]), str(document["HostConfig"].get("IsolationReason", ""))


def test_full_has_disks_and_a_console_of_a_pc(store: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    script = "ls /sys/class/block | xargs; cat /b/file; head -c 100000 /dev/zero; echo err >&2; exit 42"
    words = ("run", "--name", "box", "--isolation", "full", "-v", f"{tmp_path}:/b", "alpine", "sh", "-c")
    done = store(*words, script, status=42)
    assert done.stdout == "sda sdb\nof the host\n" + "\0" * 100000
    assert done.stderr == "err\n"
    store("rm", "box")


def test_what_qemu_is_told(store: Command) -> None:
    store("run", "-d", "--name", "box", "--isolation", "full", "alpine", "sleep", "1000")
    (document,) = json.loads(store("inspect", "box").stdout)
    (qemu,) = [each for each in descendants(document["State"]["Pid"]) if comm(each).startswith("qemu")]
    words = Path(f"/proc/{qemu}/cmdline").read_text().split("\0")
    root = Path(f"/proc/{qemu}/root")
    tree, cards = {path.name for path in (root / "etc").iterdir()}, Path(f"/proc/{qemu}/net/dev").read_text().count(":")
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{qemu}/status").read_text().splitlines() if ":\t" in line)
    store("rm", "-f", "box")
    assert (tree, cards) == ({"ld.so.cache"}, 1), "nothing of the host's, and no network"
    assert "virtio" not in " ".join(words)
    assert words[words.index("-sandbox") + 1].startswith("on,")
    assert (status["CapEff"].strip("0"), status["NoNewPrivs"], status["Seccomp"]) == ("", "1", "2")


def test_parts_are_chosen(store: Command) -> None:
    script = "ls /sys/class/block | xargs; cat /proc/cmdline"
    disks, options = store("run", "--rm", "--isolation", "partial", "--emulate", "cpu,console", "alpine", "sh", "-c", script).stdout.splitlines()
    assert disks == "vda vdb", "those of virtio"
    assert "8250.nr_uarts=2" in options


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_processors(store: Command) -> None:
    """As many as --cpus lets it use, and again at the next start."""
    for rung, words, count in (("partial", ("--cpus", "1.5"), 2), ("partial", (), 1), ("full", ("--cpus", "2"), 2)):
        assert store("run", "--rm", "--isolation", rung, *words, "alpine", "nproc").stdout == f"{count}\n"
    store("run", "--name", "box", "--isolation", "partial", "--cpus", "2", "alpine", "sh", "-c", "nproc; cat /proc/uptime")
    assert store("start", "-a", "box").stdout.startswith("2\n")
    store("rm", "box")


def test_firmware_and_boot_loader_start_a_packaged_kernel(estiba: Command, alpine_tar: Path, kernel_package: Path) -> None:
    estiba("import", str(alpine_tar), "alpine")
    estiba("kernel", "import", str(kernel_package))
    said = estiba("run", "--rm", "--isolation", "partial", "--emulate", "cpu,firmware", "alpine", "cat", "/proc/cmdline").stdout
    assert said.startswith("BOOT_IMAGE=/vmlinuz ")


def test_auto_takes_the_strongest_that_works(
    estiba: Command, alpine_tar: Path, uml: Path, vmlinux: Path, environment: dict[str, str]
) -> None:
    settings = load(environ=environment)
    if kvm.usable(settings)[0]:
        pytest.skip("needs a machine whose KVM runs no guests")
    _, seen = kvm.usable(settings)
    estiba("import", str(alpine_tar), "alpine")
    no_kvm = f"KVM runs no guests here: {seen}"
    nothing = f"auto takes container, for {no_kvm}; no kernel for partial; no kernel for para"
    assert isolation(estiba, "--isolation", "auto") == ("container", nothing)
    estiba("kernel", "import", str(uml))
    reason = f"auto takes para, for {no_kvm}; no kernel for partial"
    assert isolation(estiba, "--isolation", "auto") == ("para", reason)
    assert isolation(estiba, "--isolation", "para") == ("para", f"User-Mode Linux, for {no_kvm}")
    assert isolation(estiba, "--isolation", "para", "--kernel", str(uml)) == ("para", "User-Mode Linux, as the kernel that was named")
    several = isolation(estiba, "--isolation", "auto", "--cpus", str(min(2, len(os.sched_getaffinity(0)))))
    assert several[0] == ("container" if len(os.sched_getaffinity(0)) > 1 else "para")
    assert len(os.sched_getaffinity(0)) == 1 or several[1].endswith("a machine of User-Mode Linux has one processor")
    assert reason in estiba("run", "--rm", "--explain", "--isolation", "auto", "alpine", "true").stderr.splitlines()
    estiba("kernel", "import", str(vmlinux))
    assert isolation(estiba, "--isolation", "auto") == ("partial", f"auto takes partial, for {no_kvm}")
    device = isolation(estiba, "--isolation", "auto", "--device", "/dev/null")
    assert device == ("container", "auto takes container, for cannot use --device: devices of the host are not passed to a machine")
    assert isolation(estiba, "--isolation", "container") == ("container", "")
    assert machine_doctor.auto(settings).reason == f"takes partial ({no_kvm})"


def test_where_kvm_works_para_is_qemu(store: Command, environment: dict[str, str], uml: Path) -> None:
    """As far as it shows without running: the note of the trial says that it works."""
    store("kernel", "import", str(uml))
    settings = load(environ=environment)
    before = kvm.usable(settings)
    note = Path(settings.runtime_dir) / "kvm"
    note.write_text("yes a guest ran")
    try:
        assert isolation(store, "--isolation", "para") == ("para", "QEMU, for KVM runs guests here")
        assert isolation(store, "--isolation", "para", "--kernel", str(uml)) == ("para", "User-Mode Linux, as the kernel that was named")
    finally:
        note.write_text(f"{'yes' if before[0] else 'no'} {before[1]}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--isolation", "full", "--emulate", "cpu"], "only --isolation partial"),
        (["--isolation", "auto", "--emulate", "cpu"], "only --isolation partial"),
        (["--isolation", "partial", "--emulate", "cpu,sound"], "not a valid value"),
    ],
)
def test_parts_that_are_refused(store: Command, options: list[str], words: str) -> None:
    assert words in store("run", "--rm", *options, "alpine", "true", status=125).stderr


def test_processor_that_cannot_be_lent(store: Command, environment: dict[str, str]) -> None:
    works, _ = kvm.usable(load(environ=environment))
    done = store("run", "--rm", "--isolation", "partial", "--emulate", "disk", "alpine", "true", status=0 if works else 125)
    assert works or "cannot lend the processor" in done.stderr
