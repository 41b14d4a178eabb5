"""`estiba kernel`, and what `run --isolation` says when there is no kernel that will do."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import machine_doctor
from tests.support.kernels import KERNELS
from tests.support.machines import impostor

if TYPE_CHECKING:
    from tests.support.command import Command

PATIENCE_SECONDS = 5
PARA = ("run", "--rm", "--isolation", "para")


@pytest.fixture
def image(estiba: Command, alpine_tar: Path) -> str:
    estiba("import", "-c", 'CMD ["/bin/sh"]', str(alpine_tar), "alpine")
    return "alpine"


def left(environment: dict[str, str]) -> list[str]:
    """What containers have left, when the monitor had its moment."""
    root = environment["ESTIBA_ROOT"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        names = [*os.listdir(f"{root}/containers/names"), *os.listdir(f"{root}/trash")]
        names += [name for name in os.listdir(f"{root}/containers") if name != "names"]
        if not names or time.monotonic() > deadline:
            return names
        time.sleep(0.02)


# --- verbs -------------------------------------------------------------------------------------------------------------------


def test_kernel_from_import_to_removal(estiba: Command, image: str, uml: Path) -> None:
    assert estiba("kernel", "ls", "-q").stdout == ""
    done = estiba("kernel", "import", str(uml))
    (row,) = [json.loads(line) for line in estiba("kernel", "ls", "--no-trunc", "--format", "json").stdout.splitlines()]
    assert row["ID"] == done.stdout.strip()
    assert (row["Kind"], row["Default"], row["Architecture"]) == ("uml", "para", "amd64")
    assert row["Name"] == f"localhost/kernel:uml-{row['Release']}"
    assert estiba(*PARA, image, "uname", "-r").stdout.strip() == row["Release"]
    assert estiba(*PARA, "--kernel", row["Name"], image, "uname", "-r").stdout.strip() == row["Release"]
    assert row["Name"] in estiba("image", "tree").stdout
    estiba("create", *PARA[1:], "--name", "box", image, "true")
    lines = estiba("image", "tree").stdout.splitlines()
    stack = lines[next(at for at, line in enumerate(lines) if line.startswith("container box  ")) + 1 :]
    assert f"  kernel uml {row['Release']}  shared with {row['Name']}" in stack[-1], "the kernel is the lowest layer"
    assert stack[-1].startswith("└= ")
    assert json.loads(estiba("image", "tree", "--format", "json", "box").stdout)["containers"][0]["layers"][0]["kernel"].startswith("uml ")
    estiba("rm", "box")
    (document,) = json.loads(estiba("kernel", "inspect", row["Name"]).stdout)
    assert document["Config"]["Labels"]["kernel.kind"] == "uml"
    assert "Untagged" in estiba("kernel", "rm", row["Name"]).stdout
    assert estiba("kernel", "ls", "-q").stdout == ""


def test_kernels_of_other_rungs_are_known(estiba: Command, image: str) -> None:
    kernel = KERNELS / "vmlinux-6.1.192-x86_64.xz"
    if not kernel.exists():
        pytest.skip("needs the kernels of ../shared/kernels")
    estiba("kernel", "import", str(kernel))
    (row,) = [json.loads(line) for line in estiba("kernel", "ls", "--format", "json").stdout.splitlines()]
    assert (row["Kind"], row["Release"], row["Default"]) == ("vmlinux", "6.1.192-estiba", "partial,full")
    assert "it is a vmlinux, and --isolation para takes uml" in estiba(*PARA, "--kernel", row["Name"], image, "true", status=125).stderr


def test_kernel_that_was_imported_last_is_taken(estiba: Command, image: str, uml: Path, tmp_path: Path) -> None:
    estiba("kernel", "import", str(uml))
    time.sleep(1.1)  # an image's time has whole seconds
    estiba("kernel", "import", "-t", "localhost/kernel:mine", str(impostor(tmp_path, "")))
    assert "its kernel ended" in estiba(*PARA, image, "true", status=125).stderr
    estiba("kernel", "rm", "localhost/kernel:mine")
    estiba(*PARA, image, "true")


def test_kernel_of_a_path_is_stored_once(estiba: Command, image: str, uml: Path) -> None:
    for _ in range(2):
        estiba(*PARA, "--kernel", str(uml), image, "true")
    assert len(estiba("images", "-aq", "--filter", "dangling=true").stdout.splitlines()) == 1


def test_only_kernels_are_kernels(estiba: Command, image: str) -> None:
    for words in (("kernel", "rm", image), (*PARA, "--kernel", image, image, "true")):
        done = estiba(*words, status=125)
        assert "it is an image without one" in done.stderr
    assert image in estiba("images").stdout


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text", b"hello\n", "it is no kernel"),
        ("program", None, "it is a program, but not User-Mode Linux"),
        ("cut", b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\0" + bytes(12) + b"\xff" * 40, "its ELF headers point outside the file"),
        ("packed", b"\xfd7zXZ\0" + bytes(40), "its compression is damaged"),
    ],
)
def test_files_that_are_no_kernels(estiba: Command, image: str, tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if content is not None else Path("/bin/true").read_bytes())
    for command in (("kernel", "import", str(path)), (*PARA, "--kernel", str(path), image, "true")):
        done = estiba(*command, status=None)
        assert done.returncode in (1, 125)
        assert words in done.stderr


def test_words_of_import(estiba: Command) -> None:
    assert "no file is named" in estiba("kernel", "import", status=125).stderr
    assert "there is no such file" in estiba("kernel", "import", "/no/such/file", status=1).stderr
    assert "it is a folder" in estiba("kernel", "import", "/etc", status=125).stderr
    assert "--auto finds the file" in estiba("kernel", "import", "--auto", "/etc/passwd", status=125).stderr


# --- run ---------------------------------------------------------------------------------------------------------------------


def test_no_kernel(estiba: Command, image: str, environment: dict[str, str]) -> None:
    done = estiba(*PARA, image, "true", status=125)
    assert re.fullmatch(r"estiba: cannot run on a kernel of its own: [^\n]*\nhint: [^\n]*kernel import[^\n]*\n", done.stderr)
    assert left(environment) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('puts("[    0.010000] Kernel panic - not syncing: no such thing"); fflush(stdout); abort();', "its kernel ended: Kernel panic - not syncing"),
        ("*(volatile int *)0 = 0;", "its kernel ended: booting"),
        ("char data[70000] = {0}; write(3, data, sizeof data); pause();", "it sent what makes no sense: booting"),
        ("char data[24] = {[8] = 64, [12] = 9}; write(3, data, 24); pause();", "the guest speaks version 9 of the protocol"),
    ],
    ids=["panic", "crash", "nonsense", "version"],
)
def test_kernel_that_fails(
    estiba: Command, image: str, tmp_path: Path, environment: dict[str, str], body: str, words: str
) -> None:
    done = estiba(*PARA, "--kernel", str(impostor(tmp_path, body)), image, "true", status=125)
    assert "estiba: cannot start container: machine " in done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert left(environment) == []


def test_kernel_of_another_machine(estiba: Command, image: str, tmp_path: Path, environment: dict[str, str]) -> None:
    program = impostor(tmp_path, "")
    data = bytearray(program.read_bytes())
    data[18:20] = (183).to_bytes(2, "little")  # e_machine: aarch64 (elf.h)
    program.write_bytes(data)
    assert "it is for arm64, this machine is amd64" in estiba(*PARA, "--kernel", str(program), image, "true", status=125).stderr
    assert left(environment) == []


def test_damaged_kernel(estiba: Command, image: str, uml: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    data = bytearray(uml.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400000] = bytes(400000)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    done = estiba(*PARA, "--kernel", str(damaged), image, "true", status=125)
    assert "estiba: cannot start container: machine " in done.stderr
    assert left(environment) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--isolation", "partial"], "the store holds none for --isolation partial"),
        (["--isolation", "full"], "the store holds none for --isolation full"),
        (["--isolation", "most"], "not a valid value"),
        (["--isolation", "para", "--network", "host"], "a machine has no network yet"),
        (["--isolation", "para", "--pid", "host"], "a kernel of its own"),
        (["--isolation", "para", "--userns", "host"], "a kernel of its own"),
        (["--isolation", "para", "--device", "/dev/null"], "are not passed to a machine"),
        (["--isolation", "para", "-m", "16m"], "a machine of --isolation para needs at least 32 MiB"),
        (["--kernel", "/etc/passwd"], "--isolation"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_machine_cannot_give(estiba: Command, image: str, environment: dict[str, str], options: list[str], words: str) -> None:
    assert words in estiba("run", "--rm", *options, image, "true", status=125).stderr
    assert left(environment) == []


def test_image_of_another_machine(estiba: Command, alpine_tar: Path, uml: Path) -> None:
    other = alpine_tar.with_name("alpine-minirootfs-3.20.3-aarch64.tar.gz")
    if not other.exists():
        pytest.skip("needs the aarch64 Alpine of ../shared/images")
    estiba("import", "--platform", "linux/arm64", str(other), "foreign")
    done = estiba(*PARA, "--kernel", str(uml), "foreign", "/bin/busybox", "true", status=125)
    assert "for an image of arm64 there are machines whose processor alone is emulated" in done.stderr


# --- doctor ------------------------------------------------------------------------------------------------------------------


def finding(estiba: Command) -> dict[str, object]:
    findings = json.loads(estiba("doctor", "--format", "json", status=None).stdout)["findings"]
    (found,) = [entry for entry in findings if entry["name"] == "machine: para"]
    return dict(found)


def test_doctor_runs_a_container_on_the_kernel(estiba: Command, uml: Path, tmp_path: Path) -> None:
    estiba("kernel", "import", str(uml))
    assert finding(estiba)["works"] is True
    time.sleep(1.1)
    panics = 'puts("Kernel panic - not syncing: userspace - ptrace set fp regs failed, errno = 14"); fflush(stdout); abort();'
    estiba("kernel", "import", str(impostor(tmp_path, panics)))
    found = finding(estiba)
    assert found["works"] is False
    assert "ptrace set fp regs failed" in str(found["reason"])
    assert "kernel import" in str(found["remedy"])


@pytest.mark.parametrize(("rung", "monitor"), [("para", "User-Mode Linux"), ("partial", "QEMU")])
def test_doctor_without_a_kernel(rung: str, monitor: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_doctor, "PROGRAMS", ())
    found = machine_doctor.machine(load(environ=environment), rung)
    assert found.works is False
    assert f"there is no kernel for {monitor}" in found.reason
    assert "kernel import" in found.remedy


# --- the kernel of a package ----------------------------------------------------------------------------------------------------


def test_packaged_kernel(estiba: Command, image: str) -> None:
    """Debian's may panic on a processor with more registers than it was built for: doctor says so then."""
    program = shutil.which("linux.uml")
    if program is None:
        pytest.skip("needs the package user-mode-linux")
    found = finding(estiba)
    if not found["works"]:
        assert "panic" in str(found["reason"])
        assert "panic" in estiba("kernel", "import", "--auto", status=1).stderr
        return
    estiba("kernel", "import", "--auto")
    (row,) = [json.loads(line) for line in estiba("kernel", "ls", "--format", "json").stdout.splitlines()]
    script = "uname -r; echo x > /file; cat /file; test -c /dev/null; exit 9"
    assert estiba(*PARA, image, "sh", "-c", script, status=9).stdout == f"{row['Release']}\nx\n"
    assert estiba(*PARA, "--kernel", program, "-i", image, "cat", stdin="words\n").stdout == "words\n"
