"""Guests that begin where one like them was parked after its boot."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.plans import comm, descendants

if TYPE_CHECKING:
    from tests.support.command import Command

    Run = Command

SECRETS = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum; date +%s"


@pytest.fixture
def run(estiba: Command, alpine_tar: Path, vmlinux: Path) -> Run:
    estiba("import", str(alpine_tar), "alpine")
    estiba("kernel", "import", str(vmlinux))

    def call(*words: str, **rest: object) -> object:
        return estiba("run", "--isolation", "partial", *words, **rest)  # type: ignore[arg-type]

    return call  # type: ignore[return-value]


def files(environment: dict[str, str]) -> list[Path]:
    return list(Path(environment["ESTIBA_ROOT"]).glob("cache/parked/*"))


def test_guests_of_one_park_have_nothing_in_common(run: Run, environment: dict[str, str]) -> None:
    said = [run("--rm", "alpine", "sh", "-c", SECRETS).stdout.split("\n") for _ in range(3)]
    (file,) = files(environment)
    assert file.read_bytes().endswith(b"\nESTIBA PARKED\n")
    assert len({lines[0] for lines in said}) == 3
    assert len({lines[1] for lines in said}) == 3
    assert all(abs(int(lines[2]) - time.time()) < 60 for lines in said), "and the time is the host's"


def test_guest_begins_there_and_cannot_change_it(run: Run, estiba: Command, environment: dict[str, str]) -> None:
    run("--rm", "alpine", "true")
    (file,) = files(environment)
    before = file.stat()
    run("-d", "--name", "box", "alpine", "sleep", "1000")
    (document,) = json.loads(estiba("inspect", "box").stdout)
    pid = document["State"]["Pid"]
    (qemu,) = [each for each in descendants(pid) if comm(each).startswith("qemu")]
    words = Path(f"/proc/{qemu}/cmdline").read_bytes().split(b"\0")
    assert b"-incoming" in words
    for each in (qemu, pid):
        for name in os.listdir(f"/proc/{each}/fd"):
            if os.path.samestat(os.stat(f"/proc/{each}/fd/{name}"), before):
                assert "flags:\t0100000" in Path(f"/proc/{each}/fdinfo/{name}").read_text(), "read-only"
    estiba("rm", "-f", "box")
    run("--rm", "--snapshot=false", "alpine", "true")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_file_that_is_not_whole_is_made_anew(run: Run, environment: dict[str, str]) -> None:
    run("--rm", "alpine", "true")
    (file,) = files(environment)
    size = file.stat().st_size
    os.truncate(file, size // 2)
    assert run("--rm", "alpine", "echo", "up").stdout == "up\n"
    assert file.stat().st_size > size // 2
    assert file.read_bytes().endswith(b"\nESTIBA PARKED\n")
