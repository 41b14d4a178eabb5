"""What a guest can reach of the host when its own kernel does not stand in its way, and what the machine monitor may do there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.machine import uml as machine_uml
from estiba.plan.ops import VERSION
from tests.support.command import command_under_test
from tests.support.containers import IMAGE
from tests.support.machines import impostor
from tests.support.plans import comm, descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.command import Command
    from tests.support.containers import Remains
    from tests.support.machines import GuestRoot

PATIENCE_SECONDS = 20
LIST_HOSTFS = "mkdir /h && mount -t hostfs -o {path} none /h && cd /h && ls -A && cat {secret} 2>&1"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("treasure\n")
    return path


def test_script_is_root_of_the_guest(guest_root: GuestRoot) -> None:
    done = guest_root("id -u; cat /proc/self/uid_map | tr -s ' '; mkdir /k && mount -t devtmpfs none /k && echo mounted")
    assert done.stdout == "0\n 0 0 4294967295\nmounted\n", done.stderr


def test_guest_root_reads_no_file_of_the_host(guest_root: GuestRoot, secret: Path) -> None:
    done = guest_root(LIST_HOSTFS.format(path="/", secret=f"/h{secret}"))
    assert "treasure" not in done.stdout
    assert done.stdout.splitlines()[:-1] == [], "the folder of binds is empty"
    up = guest_root("mkdir /h && mount -t hostfs -o /../.. none /h && ls -A /h")
    assert up.stdout == "", up.stderr


def test_guest_root_sees_its_binds_and_nothing_else(guest_root: GuestRoot, secret: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lent"
    folder.mkdir()
    (folder / "file").touch()
    done = guest_root(LIST_HOSTFS.format(path="/", secret="/h/0/../../secret") + "; ls /h/0", binds=[(str(folder), "/b")])
    assert "treasure" not in done.stdout
    assert done.stdout.splitlines()[0] == "0"
    assert done.stdout.splitlines()[-1] == "file"
    above = guest_root(f"mkdir /h && mount -t hostfs -o /../.. none /h && ls -A /h; cat /h{secret}", binds=[(str(folder), "/b")])
    assert "treasure" not in above.stdout
    kernel_layer = {"boot", "dev", "proc", "run", "tmp", "etc", "lib", "lib64", "usr"}
    assert {"boot", "run"} <= set(above.stdout.split()) <= kernel_layer, "the jail's own tree: the kernel's layer"


def test_jail_holds_nothing_of_the_host_where_hostfs_is_not_confined(guest_root: GuestRoot, secret: Path) -> None:
    done = guest_root(LIST_HOSTFS.format(path="/", secret=f"/h{secret}") + "; ls -A /h/boot /h/run", without="hostfs=")
    assert "treasure" not in done.stdout
    assert {"boot", "run"} <= set(done.stdout.split())
    assert "linux" in done.stdout.split()
    assert not {"home", "root", "work", "opt", "srv", "var"} & set(done.stdout.split())


def test_hostfs_without_a_jail_would_show_the_secret(uml: Path, secret: Path, tmp_path: Path) -> None:
    """The twin: the same kernel, started as a program of its own."""
    init = tmp_path / "init"
    init.write_text(f"#!/bin/sh\ncat {secret}\nexec sleep 100\n")
    init.chmod(0o755)
    words = [str(uml), "mem=64M", "seccomp=on", "quiet", "con0=null,fd:1", "con=null", "ssl=null", f"uml_dir={tmp_path}/uml/", "umid=x"]
    root = ["rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"]
    with subprocess.Popen([*words, *root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            assert any(line.strip() == b"treasure" for line in process.stdout)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_layers_cannot_be_written(guest_root: GuestRoot, alpine_store: Path) -> None:
    images = list(alpine_store.glob("layers/*/erofs"))
    before = [hashlib.sha256(path.read_bytes()).digest() for path in images]
    script = "mkdir /k; mount -t devtmpfs none /k; dd if=/dev/zero of=/k/ubda bs=4096 count=4 conv=fsync 2>&1 | tail -1; echo end"
    done = guest_root(script)
    assert done.stdout.endswith("end\n"), done.stderr
    assert [hashlib.sha256(path.read_bytes()).digest() for path in images] == before


def test_guest_that_talks_nonsense_is_ended(guest_root: GuestRoot) -> None:
    script = "mkdir /k; mount -t devtmpfs none /k; head -c 70000 /dev/urandom > /k/ttyS0; sleep 100"
    done = guest_root(script)
    assert done.returncode == 125
    assert "the machine ended before its program: it sent what makes no sense" in done.stderr


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("pause();", "it does not answer: booting"),
        ("char ready[24] = {[8] = 64, [12] = %d}; write(3, ready, 24); pause();", "it did not start the program in time: booting"),
    ],
    ids=["silent", "idle"],
)
def test_guest_that_never_answers(
    guest_root: GuestRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remains: Remains, body: str, words: str
) -> None:
    monkeypatch.setattr(machine_uml, "PATIENCE_SECONDS", 1)
    done = guest_root("true", kernel=impostor(tmp_path, body.replace("%d", str(VERSION))))
    assert done.returncode == 125
    assert words in done.stderr
    assert not remains.gone()


# --- the machine monitor ------------------------------------------------------------------------------------------------------


@pytest.fixture
def running(alpine_store: Path, environment: dict[str, str], rung: tuple[str, ...], remains: Remains) -> Iterator[subprocess.Popen[bytes]]:
    words = [*command_under_test(), "run", "--rm", "-i", *rung, IMAGE]
    command = [*words, "sh", "-c", "echo up; read line"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment | {"ESTIBA_ROOT": str(alpine_store)}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()
    assert not remains.gone()


def processes(process: subprocess.Popen[bytes]) -> dict[str, list[int]]:
    """The processes of a guest, by what they are."""
    found: dict[str, list[int]] = {"client": [process.pid]}
    for pid in descendants(process.pid):
        found.setdefault(comm(pid), []).append(pid)
    return found


def lives(pid: int) -> bool:
    """A zombie does not: whoever runs the tests reaps those that lost their parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_guest_of_one_processor_stays_on_one(running: subprocess.Popen[bytes]) -> None:
    """Its kernel and its programs, which take turns, and the process that relays; not the watchers."""
    found = processes(running)
    (here,) = {frozenset(os.sched_getaffinity(pid)) for name in ("estiba-machine", "linux", "uml-userspace") for pid in found.get(name, ())}
    assert len(here) == 1
    assert os.sched_getaffinity(found["estiba-keeper"][0]) == os.sched_getaffinity(0)


def test_monitor_may_do_next_to_nothing(running: subprocess.Popen[bytes]) -> None:
    found = processes(running)
    assert {"estiba-monitor", "estiba-keeper", "estiba-machine", "linux"} <= set(found), found
    for pid in (*found["estiba-machine"], *found["linux"]):
        facts = status(pid)
        assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert facts["NoNewPrivs"] == "1"
        assert facts["Seccomp"] == "2"
        assert int(facts["Uid"].split()[0]) != 0 or os.geteuid() != 0
        for name in ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup"):
            assert os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino, name
    pid = found["linux"][0]
    devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    sources = {line.split(" - ")[1].split()[0] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    assert "hostfs" not in sources


@pytest.mark.parametrize(
    ("rung", "which"),
    [
        *(("para", name) for name in ("client", "estiba-monitor", "estiba-keeper", "estiba-machine", "linux", "uml-userspace")),
        *(("partial", name) for name in ("estiba-monitor", "estiba-machine", "qemu-system-x86")),
    ],
    indirect=["rung"],
)
def test_kill_of_each_process_leaves_nothing(running: subprocess.Popen[bytes], which: str) -> None:
    found = processes(running)
    everyone = {pid for pids in found.values() for pid in pids} - {running.pid}
    os.kill(found[which][0], signal.SIGKILL)
    assert running.stdin is not None
    if which in ("estiba-monitor", "estiba-keeper"):
        running.stdin.write(b"line\n")  # the other one goes on
        running.stdin.flush()
        assert running.wait(timeout=PATIENCE_SECONDS) == 0
    elif which in ("linux", "qemu-system-x86"):
        assert running.wait(timeout=PATIENCE_SECONDS) == 125
        assert running.stderr is not None
        assert b"the machine ended before its program: its kernel ended" in running.stderr.read()
    elif which == "estiba-machine":
        assert running.wait(timeout=PATIENCE_SECONDS) == 137
    else:
        running.stdin.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (alive := [pid for pid in everyone if lives(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive


MOMENTS = 24
LONGEST_SECONDS = 0.15  # a start takes about half of that


def test_kill_at_any_moment_of_a_start(
    alpine_store: Path, environment: dict[str, str], uml: Path, remains: Remains, estiba: Command
) -> None:
    """What a crash leaves the next command removes."""
    chosen, ids, killed = random.Random(7), set[str](), 0
    words = [*command_under_test(), "run", "--rm", "--isolation", "para", "--kernel", str(uml), IMAGE, "sleep", "0.3"]
    for moment in range(MOMENTS):
        process = subprocess.Popen(words, env=environment | {"ESTIBA_ROOT": str(alpine_store)}, stderr=subprocess.DEVNULL)
        time.sleep(chosen.uniform(0, LONGEST_SECONDS))
        ids |= remains.containers()
        victims = [process.pid, *descendants(process.pid)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(victims[moment % len(victims)], signal.SIGKILL)
            killed += 1
        process.wait(timeout=PATIENCE_SECONDS)
    assert killed > MOMENTS // 2
    deadline = time.monotonic() + PATIENCE_SECONDS
    while remains.all(ids) and time.monotonic() < deadline:
        estiba("run", "--rm", IMAGE, "true", ESTIBA_ROOT=str(alpine_store))
    assert not remains.gone(ids)
