"""Which images of other machines run here: the rules of binfmt_misc, and the reasons why not."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from estiba.engine import foreign
from estiba.oci.platform import Platform, parse_platform
from estiba.runtime.options import RunOptions

HOST = Platform("linux", "amd64")
ARM = parse_platform("linux/arm64")


def unescape(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


def takes(rule: str, header: bytes) -> bool:
    _, _, _, offset, magic, mask, *_ = rule.split(":")
    assert offset == ""
    return all(a & m == b & m for a, b, m in zip(header, unescape(magic), unescape(mask), strict=True))


def header(machine: int, *, bits: int = 64, order: str = "<", system: int = 0) -> bytes:
    return b"\x7fELF" + bytes([bits // 32, 1 + (order == ">"), 1, system]) + bytes(8) + struct.pack(order + "HH", 3, machine)


def test_rule_takes_programs_of_its_machine_only() -> None:
    rule = foreign.rule("arm64", "qemu")
    assert takes(rule, header(183))
    assert takes(rule, header(183, system=3))
    assert not takes(rule, header(62))
    assert not takes(rule, header(183, bits=32))
    assert not takes(rule, header(183, order=">"))
    assert takes(foreign.rule("s390x", "qemu"), header(22, order=">"))
    assert rule.startswith(":qemu-aarch64:M::\\x7f\\x45\\x4c\\x46")
    assert rule.endswith(":qemu:OPF")
    assert len(rule) < 256  # a register line has 1920 bytes at most, a magic 128


@pytest.mark.parametrize("architecture", ["arm64", "arm", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"])
def test_rules_agree_with_the_packages(architecture: str) -> None:
    rule = foreign.rule(architecture, "x")
    name = rule.split(":")[1]
    with Path(f"/usr/lib/binfmt.d/{name}.conf").open() as file:
        magic = unescape(file.read().split(":")[4])
    assert takes(rule, magic)


def options(**changes: str) -> RunOptions:
    made = RunOptions("image")
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(foreign, "HOST_TABLE", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "FOLDERS", ())


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    names = os.uname_result(("Linux", "host", "6.1.0-18-amd64", "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: names)


def test_no_reason_where_it_runs(table: Path) -> None:
    assert foreign.reason(ARM, HOST, options()) is None
    assert foreign.reason(parse_platform("linux/386"), HOST, options()) is None


@pytest.mark.usefixtures("no_program", "table")
def test_program_is_missing() -> None:
    reason = foreign.reason(ARM, HOST, options())
    assert reason == "there is no qemu-aarch64-static (as root: apt-get install qemu-user-static)"


@pytest.mark.usefixtures("old_kernel", "table")
def test_kernel_is_old() -> None:
    reason = foreign.reason(ARM, HOST, options())
    assert reason is not None
    assert reason.startswith("that needs Linux 6.7 (this is 6.1.0-18-amd64)")
    assert foreign.find("arm64", options()) is None


@pytest.mark.usefixtures("table")
def test_what_nothing_emulates() -> None:
    assert foreign.reason(parse_platform("windows/amd64"), HOST, options()) == "nothing emulates that platform"
    assert foreign.reason(parse_platform("linux/wasm"), HOST, options()) == "nothing emulates that platform"
    assert foreign.reason(ARM, HOST, options(isolation="para")) == "its kernel is linux/amd64 too"
    assert "--userns host" in str(foreign.reason(ARM, HOST, options(userns="host")))


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize(
    ("text", "serves"),
    [
        ("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\n", True),
        ("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OC\n", False),
        ("disabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\n", False),
        ("", False),
    ],
)
def test_hosts_table_serves_where_its_interpreter_is_open(table: Path, text: str, serves: bool) -> None:
    (table / "qemu-aarch64").write_text(text)
    assert (foreign.reason(ARM, HOST, options()) is None) is serves
    assert foreign.find("arm64", options()) is None


def test_dynamic_program_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "FOLDERS", (str(tmp_path),))
    program = tmp_path / "qemu-aarch64"
    program.symlink_to("/usr/bin/env")
    assert foreign.find("arm64", options()) is None
    program.unlink()
    program.symlink_to("/bin/busybox")
    found = foreign.find("arm64", options())
    assert found is not None
    assert found.rule.endswith(f":{os.path.basename(found.program)}:OPF")
    program.unlink()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert foreign.find("arm64", options()) is None
