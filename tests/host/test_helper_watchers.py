"""The watching processes: what a kill -9 of one of them, at any moment, does to the program, its output, its status (K03)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.plan import ops
from tests.support.plans import NEWPID, TERMINAL, Container, children, comm, descendants, named, read_until, until, upper_in
from tests.support.soak import times
from tests.support.watchers import (
    KEEPER,
    MONITOR,
    all_processes,
    field,
    is_locked,
    keep_killing,
    keep_reaping,
    logged,
    program_child,
    program_of,
    status_lines,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.plans import Running

# --- the processes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper(container: Container, tmp_path: Path) -> Iterator[Running]:
    """A container that waits for its input's end, with a status file and a log."""
    container.stdin = 1
    container.log(tmp_path / "log")
    container.status(tmp_path / "status")
    with container.start("sh", "-c", "echo ready; cat; exit 42") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        yield process
        process.communicate()


@pytest.mark.parametrize("name", [MONITOR, KEEPER])
def test_watchers_are_hardened(sleeper: Running, name: str) -> None:
    pid = named(sleeper, name)
    kept = 1 << 5 | 1 << 1 | 1 << 3  # CAP_KILL, CAP_DAC_OVERRIDE, CAP_FOWNER (linux/capability.h)
    until(lambda: field(pid, "NoNewPrivs") == "1", "no_new_privs")
    assert int(field(pid, "CapEff"), 16) & ~kept == 0
    assert int(field(pid, "CapInh"), 16) == 0
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:estiba-init")
    assert "Max core file size        0" in Path(f"/proc/{pid}/limits").read_text()


def test_watchers_are_not_dumpable(sleeper: Running) -> None:
    for pid in descendants(sleeper.pid):
        if comm(pid).startswith("estiba"):
            assert os.stat(f"/proc/{pid}/environ").st_uid == 0


def test_status_file(sleeper: Running, tmp_path: Path) -> None:
    program = program_of(sleeper)
    [running] = until(lambda: status_lines(tmp_path / "status"), "the line")
    started = Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[19]
    assert running[:3] == ["running", str(program), started]
    assert abs(int(running[3]) - time.time_ns()) < 60e9
    assert is_locked(tmp_path / "status")
    sleeper.communicate()
    assert sleeper.returncode == 42
    exited = status_lines(tmp_path / "status")[1]
    assert exited[:3] == ["exited", "42", "0"]
    assert exited[4] == "0"
    until(lambda: not is_locked(tmp_path / "status"), "the lock")


def test_status_of_a_signal(container: Container, tmp_path: Path) -> None:
    container.status(tmp_path / "status")
    container.init = True
    with container.start("sh", "-c", "echo x; exec sleep 1000") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"x")
        os.kill(program_of(process), signal.SIGKILL)
        process.communicate()
    assert process.returncode == 137
    assert status_lines(tmp_path / "status")[1][:3] == ["exited", "137", "9"]


def test_a_container_runs_once(sleeper: Running, busybox: Path, tmp_path: Path) -> None:
    second = Container(busybox, tmp_path / "container")
    second.status(tmp_path / "status")
    done = second.run("true")
    assert done.returncode == 125
    assert done.stderr.endswith(b"hint: the container runs already\n")


def test_lock_outlives_either_watcher(sleeper: Running, tmp_path: Path) -> None:
    os.kill(named(sleeper, MONITOR), signal.SIGKILL)
    keeper = until(lambda: [p for p in all_processes() if comm(p) == KEEPER and program_child(p)], "the keeper")[0]
    until(lambda: any(comm(child) == MONITOR for child in children(keeper)), "a new monitor")
    assert is_locked(tmp_path / "status")


# --- kill -9 ---------------------------------------------------------------------------------------------------------------------

LINES = 20_000
EXPECTED = b"begin\n" + b"".join(b"%d\n" % i for i in range(1, LINES + 1))


@pytest.mark.soak
@pytest.mark.parametrize("round_", times(8, 200))
@pytest.mark.parametrize("name", [MONITOR, KEEPER])
def test_killed_watcher_during_output(container: Container, tmp_path: Path, name: str, round_: int) -> None:
    """Nothing is lost and nothing doubled: at the client, in the log, in the exit status."""
    container.log(tmp_path / "log")
    container.status(tmp_path / "status")
    chance = random.Random(f"{name}{round_}")
    process = container.start("sh", "-c", f"echo begin; seq {LINES}; echo end >&2; exit 42")
    assert process.stdout is not None
    begin = read_until(process.stdout, b"begin\n")  # killed before, a launch that fails is the right answer
    stop = threading.Event()
    killer = threading.Thread(target=keep_killing, args=(process, name, chance, 1 if name == KEEPER else 4, stop))
    reaper = threading.Thread(target=keep_reaping, args=(stop,))
    for thread in (killer, reaper):
        thread.start()
    out, err = process.communicate(timeout=60)
    stop.set()
    for thread in (killer, reaper):
        thread.join()
    assert begin + out == EXPECTED
    assert err == b"end\n"
    assert process.returncode == 42
    assert logged(tmp_path / "log", b"stdout") == EXPECTED
    assert logged(tmp_path / "log", b"stderr") == b"end\n"
    assert status_lines(tmp_path / "status")[-1][:3] == ["exited", "42", "0"]


@pytest.mark.soak
@pytest.mark.parametrize("round_", times(6, 200))
def test_killed_monitor_during_input(container: Container, tmp_path: Path, round_: int) -> None:
    """Both ways through cat, with the monitor killed again and again."""
    container.stdin = 1
    data = random.Random(round_).randbytes(1_500_000)
    process = container.start("sh", "-c", "echo begin >&2; exec cat")
    assert process.stderr is not None
    read_until(process.stderr, b"begin\n")
    stop = threading.Event()
    threads = [
        threading.Thread(target=keep_killing, args=(process, MONITOR, random.Random(round_), 5, stop)),
        threading.Thread(target=keep_reaping, args=(stop,)),
    ]
    for thread in threads:
        thread.start()
    out, err = process.communicate(data, timeout=60)
    stop.set()
    for thread in threads:
        thread.join()
    assert (process.returncode, err) == (0, b"")
    assert out == data


def test_monitor_and_then_keeper(container: Container, tmp_path: Path) -> None:
    """The program is nobody's child that asks any more: its pidfd still tells (Linux 6.15)."""
    container.stdin = 1
    container.status(tmp_path / "status")
    with container.start("sh", "-c", "echo ready; cat; exit 42") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        os.kill(named(process, MONITOR), signal.SIGKILL)
        keeper = until(lambda: [p for p in all_processes() if comm(p) == KEEPER and program_child(p)], "the keeper")[0]
        until(lambda: any(comm(child) == MONITOR for child in children(keeper)), "a new monitor")
        os.kill(keeper, signal.SIGKILL)
        stop = threading.Event()
        reaper = threading.Thread(target=keep_reaping, args=(stop,))
        reaper.start()
        process.communicate()
        stop.set()
        reaper.join()
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    expected = 42 if release >= (6, 15) else 255
    assert process.returncode == expected
    assert status_lines(tmp_path / "status")[-1][:3] == ["exited", str(expected), "0"]


def test_both_watchers_killed(container: Container, tmp_path: Path) -> None:
    """Nobody is left who knows: the client says so, the lock is free, and the program goes on."""
    container.status(tmp_path / "status")
    with container.start("sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        program, keeper = program_of(process), named(process, KEEPER)
        monitor = named(process, MONITOR)
        os.kill(keeper, signal.SIGSTOP)
        os.kill(monitor, signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        _, err = process.communicate()
        assert process.returncode == 125
        assert err.startswith(b"estiba: cannot learn how the container ended")
        until(lambda: comm(program) == "sleep", "the program going on")
        assert not is_locked(tmp_path / "status")
        os.kill(program, signal.SIGKILL)


def test_killed_client(container: Container, tmp_path: Path) -> None:
    container.log(tmp_path / "log")
    container.status(tmp_path / "status")
    container.after.append(ops.forget(container.slot(os.open(tmp_path, os.O_PATH)), "forgotten"))
    (tmp_path / "forgotten").touch()
    with container.start("sh", "-c", "echo ready; sleep 0.2; echo more; exit 3") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        process.kill()
        process.communicate()
    until(lambda: status_lines(tmp_path / "status")[-1][:2] == ["exited", "3"], "the status")
    until(lambda: logged(tmp_path / "log", b"stdout") == b"ready\nmore\n", "the log")
    until(lambda: not (tmp_path / "forgotten").exists(), "the monitor's tidying")


@pytest.mark.soak
@pytest.mark.parametrize("round_", times(10, 200))
@pytest.mark.parametrize("name", [KEEPER, MONITOR, "client"])
def test_killed_while_it_starts(busybox: Path, tmp_path: Path, name: str, round_: int) -> None:
    """At any step (K06): a launch that fails, or one that succeeds; and nothing is left (the leak check)."""
    chance = random.Random(f"{name}{round_}")
    container = Container(busybox, upper_in(tmp_path))
    container.status(tmp_path / "status")
    with container.start("sh", "-c", "echo ran; exit 42") as process:
        time.sleep(chance.random() * 0.006)
        victims = [process.pid] if name == "client" else [pid for pid in descendants(process.pid) if comm(pid) == name]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        stop = threading.Event()
        reaper = threading.Thread(target=keep_reaping, args=(stop,))
        reaper.start()
        out, err = process.communicate(timeout=60)
        stop.set()
        reaper.join()
    assert process.returncode in ({-9, 42} if name == "client" else {42, 125}), (process.returncode, out, err)
    if process.returncode == 125:
        assert err.startswith(b"estiba: cannot ")
    until(lambda: not is_locked(tmp_path / "status"), "the end")


# --- many ------------------------------------------------------------------------------------------------------------------------


def test_fifty_runs_leave_nothing(busybox: Path, tmp_path: Path) -> None:
    """The leak check of every test looks at mounts, processes and descriptors; here also after failures and terminals."""
    for number in range(50):
        container = Container(busybox, upper_in(tmp_path / str(number)))
        container.init = number % 3 == 0
        if number % 5 == 0:
            container.kind = TERMINAL
        word = "nope" if number % 7 == 0 else "true"
        assert container.run(word).returncode == (127 if number % 7 == 0 else 0)


def test_orphans_without_a_pid_namespace(container: Container) -> None:
    """They come to the monitor, which reaps them."""
    container.namespaces &= ~NEWPID
    container.stdin = 1
    container.file_systems = [op for op in container.file_systems if op[1] != "proc"]
    with container.start(
        "sh", "-c", "i=0; while [ $i -lt 5 ]; do (sleep 0.01 &); i=$((i+1)); done; echo made; cat", stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        read_until(process.stdout, b"made\n")
        monitor = named(process, MONITOR)
        until(lambda: KEEPER in [comm(pid) for pid in children(monitor)] and len(children(monitor)) == 1, "the orphans' end")
        os.kill(program_of(process), signal.SIGKILL)
        process.communicate()
