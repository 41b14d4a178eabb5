"""Commands that somebody holds up: a stopped holder of a lock (L05), a hundred that want one name (L04), a program that a freezer or a
tracer holds (H03), a program that crashes again and again (H02).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE, Remains
from tests.support.plans import until
from tests.support.soak import times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.command import Command

    Popen = subprocess.Popen[bytes]
    Engine = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.host


@pytest.fixture
def engine(estiba: Command, alpine_store: Path, remains: Remains) -> Iterator[Engine]:
    def call(*words: str, status: int | None = 0, patience: str = "") -> subprocess.CompletedProcess[str]:
        return estiba(*words, status=status, ESTIBA_ROOT=str(alpine_store), ESTIBA_LOCK_TIMEOUT=patience)

    yield call
    for container in call("ps", "-aq").stdout.split():
        call("rm", "-f", container)
    assert not remains.gone()


def begin(environment: dict[str, str], root: Path, *words: str) -> Popen:
    return subprocess.Popen(
        [*command_under_test(), *words], env=environment | {"ESTIBA_ROOT": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.soak
def test_one_of_a_hundred_gets_the_name(engine: Engine, environment: dict[str, str], alpine_store: Path) -> None:
    creations = [begin(environment, alpine_store, "create", "--name", "wanted", IMAGE, "true") for _ in times(20, 100)]
    results = [(*process.communicate(timeout=120), process.returncode) for process in creations]
    assert [bool(out) for out, _, _ in results].count(True) == 1
    assert sum(code == 0 for _, _, code in results) == 1
    errors = [error for _, error, code in results if code]
    assert all(error.startswith(b"estiba: cannot create container wanted: the name is in use by container ") for error in errors)
    assert engine("ps", "-a", "--format", "{{.Names}}").stdout == "wanted\n"


# --- L05 ---

HOLDERS = {
    "container": "containers.lock(containers.find(store, 'box'))",
    "content": "store.collecting()",
}
HOLDER = """
import time
from estiba.config.settings import load
from estiba.engine import containers
from estiba.store.layout import Store
store = Store.open(load())
with {}:
    print("held", flush=True)
    time.sleep(1000)
"""
WAITERS = {"container": ("rm", "box"), "content": ("run", "--rm", IMAGE, "true")}


def started(program: str, *words: str, env: dict[str, str] | None = None) -> Popen:
    """A Python program that has said its first line."""
    process = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, env=env)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.fixture(params=HOLDERS)
def stopped_holder(request: pytest.FixtureRequest, engine: Engine, environment: dict[str, str], alpine_store: Path) -> Iterator[Any]:
    """A process that has a lock and stands still, and a command that needs it."""
    engine("create", "--name", "box", IMAGE, "true")
    with started(HOLDER.format(HOLDERS[request.param]), env=environment | {"ESTIBA_ROOT": str(alpine_store)}) as holder:
        holder.send_signal(signal.SIGSTOP)
        yield holder, WAITERS[request.param]
        holder.kill()


def test_a_stopped_holder_is_named_and_its_death_is_the_end(
    stopped_holder: tuple[Popen, tuple[str, ...]], engine: Engine, environment: dict[str, str], alpine_store: Path
) -> None:
    holder, words = stopped_holder
    assert engine("ps", "-aq").stdout, "who only looks does not wait"
    done = engine(*words, status=None, patience="3")
    assert done.returncode in (1, 125)
    assert f"estiba: waiting for process {holder.pid}, which uses " in done.stderr
    assert f"process {holder.pid} uses it" in done.stderr
    assert engine("ps", "-a", "--format", "{{.Names}}").stdout == "box\n"
    waiting = begin(environment, alpine_store, *words)
    assert waiting.stderr is not None
    assert waiting.stderr.readline().startswith(b"estiba: waiting for process ")
    holder.kill()
    assert waiting.communicate(timeout=60)[1] == b""
    assert waiting.returncode == 0


NAMES = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(1000)
"""


def test_a_stopped_holder_of_the_names_stops_nobody(engine: Engine, alpine_store: Path) -> None:
    engine("create", "--name", "box", IMAGE, "true")
    engine("create", "--name", "old", IMAGE, "true")
    with started(NAMES, str(alpine_store / "containers/names")) as holder:
        holder.send_signal(signal.SIGSTOP)
        engine("rename", "old", "new")
        engine("rm", "box")
        engine("create", "--name", "other", IMAGE, "true")
        assert engine("ps", "-a", "--format", "{{.Names}}").stdout == "other\nnew\n"
        assert "no such container" in engine("inspect", "old", status=1).stderr
        holder.kill()
    engine("create", "--name", "box", IMAGE, "true")
    engine("ps", "-a")
    assert {path.name for path in (alpine_store / "containers/names").iterdir()} == {"box", "new", "other"}


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "86401", "9" * 400])
def test_a_time_that_is_none(engine: Engine, text: str) -> None:
    assert "cannot use ESTIBA_LOCK_TIMEOUT" in engine("ps", status=125, patience=text).stderr


# --- H03 ---


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def frozen(engine: Engine) -> Iterator[tuple[int, Path]]:
    """The program of `box` in a frozen group of somebody else, and what lets it go on."""
    group = Path(f"/sys/fs/cgroup/freezer/estiba-test-{os.getpid()}")
    if not group.parent.is_dir():
        pytest.skip("this machine has no freezer of control groups of version 1, which alone stops what was killed")
    engine("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    pid = int(engine("inspect", "-f", "{{.State.Pid}}", "box").stdout)
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        until(lambda: (group / "freezer.state").read_text() == "FROZEN\n", "the freezer")
        yield pid, group / "freezer.state"
    finally:
        (group / "freezer.state").write_text("THAWED")
        engine("rm", "-f", "box")
        until(lambda: not (group / "cgroup.procs").read_text(), "the end of the program")
        group.rmdir()


@pytest.mark.parametrize("words", [("stop", "-t", "0"), ("kill",), ("rm", "-f")])
def test_a_program_that_cannot_even_die(engine: Engine, frozen: tuple[int, Path], words: tuple[str, ...]) -> None:
    pid, control = frozen
    done = engine(*words, "box", status=1)
    assert f"cannot end container box: process {pid} is in state D " in done.stderr
    assert engine("ps", "--format", "{{.Names}} {{.State}}").stdout == "box running\n"
    control.write_text("THAWED")
    engine("wait", "box")
    assert engine("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box").stdout == "exited 137\n"


TRACER = """
import ctypes, os, sys, time
pid = int(sys.argv[1])
trace = ctypes.CDLL(None, use_errno=True).ptrace
assert trace(0x4206, pid, 0, 0) == 0, ctypes.get_errno()  # PTRACE_SEIZE
assert trace(0x4207, pid, 0, 0) == 0, ctypes.get_errno()  # PTRACE_INTERRUPT
print("traced", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def traced(engine: Engine) -> Iterator[tuple[int, Popen]]:
    """The program of `box` stands still for a debugger, which does not answer any more: it does not wait for it either."""
    engine("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    pid = int(engine("inspect", "-f", "{{.State.Pid}}", "box").stdout)
    with started(TRACER, str(pid)) as tracer:
        until(lambda: process_state(pid) == "t", "the program to stop")
        yield pid, tracer
        tracer.kill()


@pytest.mark.parametrize("words", [("stop", "-t", "0"), ("kill",), ("rm", "-f")])
def test_a_program_that_a_debugger_holds(engine: Engine, traced: tuple[int, Popen], words: tuple[str, ...]) -> None:
    pid, tracer = traced
    done = engine(*words, "box", status=1)
    assert f"cannot end container box: process {pid} is in state Z, and its tracer, process {tracer.pid}, keeps it" in done.stderr
    tracer.kill()
    engine("wait", "box")
    assert engine("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box").stdout == "exited 137\n"


# --- H02 ---


def processor_ticks(pid: int) -> int:
    """proc_pid_stat(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_pauses_between_crashes_grow(engine: Engine, alpine_store: Path, remains: Remains) -> None:
    container = engine("run", "-d", "--restart", "always", IMAGE, "false").stdout.strip()
    status = alpine_store / "containers" / container / "status"

    def wanted() -> list[int]:
        """When the supervisor wanted it to start, in ns."""
        return [int(line.split()[3]) for line in status.read_text().splitlines() if line.startswith("asked restart")]

    until(lambda: len(wanted()) >= 5, "five restarts")
    pauses = [(after - before) / 1e9 for before, after in zip(wanted(), wanted()[1:], strict=False)]
    # The first pause is 0.1 s, and a start takes its time.
    assert all(pause > least for pause, least in zip(pauses, (0.2, 0.4, 0.8, 1.6), strict=False)), pauses
    pid = int((remains.runtime / "supervised" / container).read_text().splitlines()[1].split()[0])
    before = processor_ticks(pid)
    time.sleep(1)
    assert processor_ticks(pid) - before <= 1, "who waits does nothing"
