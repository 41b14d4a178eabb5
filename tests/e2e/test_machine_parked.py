"""Guests that begin where one like them was parked after its boot."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.plans import comm, descendants, until

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
    return [path for path in Path(environment["ESTIBA_ROOT"]).glob("cache/parked/*") if path.suffix != ".disk"]


def let_go(file: Path) -> None:
    """Waits until nobody of the run that wrote it has it: its monitor outlives the command for a moment, and who finds it locked boots."""

    def free() -> bool:
        with file.open("rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    until(free, "the parked guest's file is let go")


def digest(sparse: Path) -> str:
    """Of what a sparse file holds, and where."""
    found = hashlib.sha256()
    with sparse.open("rb") as file:
        descriptor, end = file.fileno(), 0
        while True:
            try:
                begin = os.lseek(descriptor, end, os.SEEK_DATA)
            except OSError:
                return found.hexdigest()
            end = os.lseek(descriptor, begin, os.SEEK_HOLE)
            found.update(b"%d %d" % (begin, end) + os.pread(descriptor, end - begin, begin))


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
    before, disk = file.stat(), digest(file.with_suffix(".disk"))
    run("-d", "--rm", "--name", "box", "alpine", "sh", "-c", "head -c 9000000 /dev/zero > /large; sync; exec sleep 1000")
    (document,) = json.loads(estiba("inspect", "box").stdout)
    pid = document["State"]["Pid"]
    (qemu,) = [each for each in descendants(pid) if comm(each).startswith("qemu")]
    words = Path(f"/proc/{qemu}/cmdline").read_bytes().split(b"\0")
    assert b"-incoming" in words
    for each in (qemu, pid):
        for name in os.listdir(f"/proc/{each}/fd"):
            if os.path.samestat(os.stat(f"/proc/{each}/fd/{name}"), before):
                assert "flags:\t0100000" in Path(f"/proc/{each}/fdinfo/{name}").read_text(), "read-only"
    estiba("exec", "box", "sh", "-c", "until test -s /large; do sleep 0.1; done; sync")
    estiba("rm", "-f", "box")
    run("--rm", "--snapshot=false", "alpine", "true")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert digest(file.with_suffix(".disk")) == disk


def test_file_that_is_not_whole_is_made_anew(run: Run, environment: dict[str, str]) -> None:
    run("--rm", "alpine", "true")
    (file,) = files(environment)
    size = file.stat().st_size
    let_go(file)
    os.truncate(file, size // 2)
    assert run("--rm", "alpine", "echo", "up").stdout == "up\n"
    assert file.stat().st_size > size // 2
    assert file.read_bytes().endswith(b"\nESTIBA PARKED\n")


def test_machine_with_a_serial_line_for_a_channel_boots_each_time(run: Run, environment: dict[str, str]) -> None:
    for _ in range(2):
        assert run("--rm", "--emulate", "cpu,console", "alpine", "echo", "up").stdout == "up\n"
    assert files(environment) == []


def test_disk_that_is_gone_is_made_anew(run: Run, environment: dict[str, str]) -> None:
    run("--rm", "alpine", "true")
    (file,) = files(environment)
    let_go(file)
    os.unlink(file.with_suffix(".disk"))
    for _ in range(2):
        assert run("--rm", "alpine", "sh", "-c", "echo up > /file; cat /file").stdout == "up\n"
    assert file.with_suffix(".disk").exists()


def test_what_is_a_containers_own_is_not_parked(run: Run, environment: dict[str, str]) -> None:
    script = "hostname; cat /etc/hostname; grep -c alias /etc/hosts; echo $WORD; id -u; ls /tmp/mine 2>&1; pwd; echo mine > /tmp/mine"
    for number in range(3):
        name, word = f"box{number}", f"word{number}"
        words = ("--hostname", name, "--add-host", "alias:127.0.0.9", "-e", f"WORD={word}", "-u", str(number), "-w", f"/w{number}")
        said = run("--rm", *words, "alpine", "sh", "-c", script).stdout.split("\n")
        assert said[:-1] == [name, name, "1", word, str(number), "ls: /tmp/mine: No such file or directory", f"/w{number}"]
    assert len(files(environment)) == 1


def test_what_is_done_before_the_park_is_in_its_name(run: Run, environment: dict[str, str]) -> None:
    cases = [(), ("-v", "/kept"), ("--tmpfs", "/quick"), ("--read-only",), ("--sysctl", "net.ipv4.ip_default_ttl=9"), ("-i",)]
    for options in cases:
        for _ in range(2):
            mounts = run("--rm", *options, "alpine", "cat", "/proc/mounts", "/proc/sys/net/ipv4/ip_default_ttl").stdout
            assert (" /kept " in mounts) == ("/kept" in options)
            assert (" /quick " in mounts) == ("/quick" in options)
            assert ("overlay / overlay ro," in mounts) == (options == ("--read-only",))
            assert mounts.endswith("9\n" if "--sysctl" in options else "64\n")
    assert len(files(environment)) == len(cases)


def test_images_of_the_same_size_have_parks_of_their_own(run: Run, estiba: Command, environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "marker").write_text(name)
        subprocess.run(["tar", "-C", str(tmp_path), "-cf", str(tmp_path / "tar"), "marker"], check=True)
        estiba("import", str(tmp_path / "tar"), name)
        estiba("image", "stack", "alpine", name, "-t", f"alpine-{name}")
    for name in ("one", "two", "one"):
        assert run("--rm", f"alpine-{name}", "cat", "/marker").stdout == name
    assert len(files(environment)) == 2


@pytest.mark.parametrize("begun", ["parks", "wakes"])
def test_changes_survive_stop_start_and_a_power_cut(run: Run, estiba: Command, begun: str) -> None:
    if begun == "wakes":
        run("alpine", "true")
    script = "test -e /kept && exec cat /kept; echo kept > /kept; sync; exec sleep 1000"
    for end in ("stop", "cut"):
        run("-d", "--name", end, "alpine", "sh", "-c", script)
        estiba("exec", end, "sh", "-c", "until test -s /kept; do sleep 0.1; done; sync")
        if end == "stop":
            estiba("stop", "-t", "0", end)
        else:
            (document,) = json.loads(estiba("inspect", end).stdout)
            os.kill(document["State"]["Pid"], signal.SIGKILL)
            estiba("wait", end)
        assert estiba("start", "-a", end).stdout == "kept\n"
        assert estiba("start", "-a", end).stdout == "kept\n", "from the park of those that have changes"


@pytest.mark.parametrize("begun", ["parks", "wakes"])
def test_what_fails_before_the_park_and_behind_it(run: Run, estiba: Command, environment: dict[str, str], tmp_path: Path, begun: str) -> None:
    if begun == "wakes":
        run("--rm", "alpine", "true")
    assert "not found" in run("--rm", "alpine", "nothing-of-that-name", status=127).stderr
    assert run("--rm", "-u", "nobody-of-that-name", "alpine", "true", status=125).stderr
    (tmp_path / "proc").symlink_to("/")
    subprocess.run(["tar", "-C", str(tmp_path), "-cf", str(tmp_path / "tar"), "proc"], check=True)
    estiba("import", str(tmp_path / "tar"), "odd")
    for _ in range(2):
        assert "mount" in run("--rm", "--with", "odd", "alpine", "true", status=125).stderr
    whole = [file for file in files(environment) if file.read_bytes().endswith(b"\nESTIBA PARKED\n")]
    assert len(whole) == 1
