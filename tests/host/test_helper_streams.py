"""Streams, terminals, signals and logs between the program and its client."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

from estiba.plan import ops
from tests.support.clients import Terminal
from tests.support.plans import NULL, TERMINAL, Container, children, named, read_until, until
from tests.support.watchers import logged, program_of

if TYPE_CHECKING:
    from pathlib import Path

HUNDRED_MB = 100 * 1024 * 1024


# --- bytes -----------------------------------------------------------------------------------------------------------------


def test_hundred_megabytes_through_cat(container: Container) -> None:
    data = random.Random(1).randbytes(HUNDRED_MB)
    assert container.run("cat", stdin=data).stdout == data


def test_both_outputs_at_once_with_a_log(container: Container, tmp_path: Path) -> None:
    container.log(tmp_path / "log")
    done = container.run("sh", "-c", "seq 100000 >&2 & seq 100000; wait")
    expected = b"".join(b"%d\n" % i for i in range(1, 100_001))
    assert done.stdout == expected
    assert done.stderr == expected
    assert (logged(tmp_path / "log", b"stdout"), logged(tmp_path / "log", b"stderr")) == (expected, expected)


def test_end_of_input_is_the_programs(container: Container) -> None:
    """Half-close: the program still writes after its input ended."""
    done = container.run("sh", "-c", "cat >/tmp/got; sleep 0.1; wc -c </tmp/got", stdin=b"x" * 70_000)
    assert done.stdout == b"70000\n"


def test_without_input_there_is_none(container: Container) -> None:
    done = container.run("sh", "-c", "cat; stat -L -c %t:%T /proc/self/fd/0")
    assert done.stdout == b"1:3\n"


def test_program_that_does_not_read(container: Container) -> None:
    assert container.run("true", stdin=b"x" * 1_000_000).returncode == 0


def test_program_that_reads_slowly(container: Container) -> None:
    """More than every buffer on the way holds; none of it is lost."""
    done = container.run("sh", "-c", "sleep 0.3; wc -c", stdin=b"x" * 3_000_000)
    assert done.stdout == b"3000000\n"


def test_streams_can_be_opened_again(container: Container) -> None:
    done = container.run("sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin", stdin=b"in")
    assert (done.stdout, done.stderr) == (b"out\nin", b"err\n")


def test_null_streams(container: Container) -> None:
    container.kind = NULL
    done = container.run("sh", "-c", "echo lost; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"")


def test_non_blocking_output_of_the_caller(container: Container) -> None:
    """A pipe that another program made non-blocking: the client waits for room instead of failing."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with container.start("seq", "100000", stdout=theirs) as process:
        os.close(theirs)
        with os.fdopen(ours, "rb") as reader:
            assert reader.read() == b"".join(b"%d\n" % i for i in range(1, 100_001))
        assert process.wait(30) == 0


# --- broken outputs ----------------------------------------------------------------------------------------------------------


def test_full_standard_output(container: Container) -> None:
    with open("/dev/full", "w") as full:
        process = container.start("sh", "-c", "while echo x; do :; done; sleep 1000", stdout=full)
        keeper = named(process, "estiba-keeper")
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == b"estiba: cannot write standard output: write error: No space left on device\n"
    os.kill(until(lambda: children(keeper), "the program")[0], signal.SIGKILL)


def test_reader_that_went_away_ends_the_program(container: Container) -> None:
    """`run ... | head -1`: the client ends as a filter does, and the program learns that nobody reads."""
    process = container.start("sh", "-c", "yes")
    assert process.stdout is not None
    read_until(process.stdout, b"y\n")
    process.stdout.close()
    assert process.wait(30) == -signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.communicate()


@pytest.mark.parametrize("going", [False, True], ids=["stays", "goes"])
def test_reader_that_went_away_leaves_the_log(container: Container, tmp_path: Path, going: bool) -> None:
    """With a log the program goes on writing into it, unless the log goes with the container."""
    container.log(tmp_path / "log")
    (tmp_path / "trash").mkdir()
    (tmp_path / "container").mkdir(exist_ok=True)
    (tmp_path / "container" / "name").unlink(missing_ok=True)
    if going:
        (tmp_path / "container" / "name").symlink_to("box")
    here, trash = (container.slot(os.open(path, os.O_PATH)) for path in (tmp_path, tmp_path / "trash"))
    container.after.append(ops.discard(here, "container", trash, here))
    process = container.start("sh", "-c", "echo first; sleep 0.2; echo second; sleep 1; echo third", stdout=subprocess.PIPE)
    assert process.stdout is not None
    read_until(process.stdout, b"first\n")
    process.stdout.close()
    assert process.wait(30) == -signal.SIGPIPE
    process.communicate()
    if going:
        until(lambda: not (tmp_path / "container").exists(), "the end")
        assert logged(tmp_path / "log", b"stdout") == b"first\nsecond\n"
    else:
        until(lambda: logged(tmp_path / "log", b"stdout") == b"first\nsecond\nthird\n", "the log")


# --- signals ---------------------------------------------------------------------------------------------------------------

TRAPS = 'for s in HUP INT QUIT TERM USR1 USR2 CONT WINCH TSTP; do trap "echo $s" $s; done; echo ready; while :; do sleep 0.01; done'


@pytest.mark.parametrize("init", [False, True], ids=["plain", "init"])
@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT", "WINCH", "TSTP"])
def test_signal_through_the_client(container: Container, name: str, init: bool) -> None:
    container.init = init
    with container.start("sh", "-c", TRAPS) as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert read_until(process.stdout, b"\n") == name.encode() + b"\n"
        kill_program(process)
        process.communicate()
        assert process.returncode == 128 + signal.SIGKILL


def kill_program(process: subprocess.Popen[bytes]) -> None:
    os.kill(program_of(process), signal.SIGKILL)


def test_without_proxy_a_signal_is_the_clients(container: Container) -> None:
    container.signal_proxy = 0
    with container.start("sh", "-c", TRAPS) as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        program = program_of(process)
        process.terminate()
        process.communicate()
        assert process.returncode == -signal.SIGTERM
        assert os.path.exists(f"/proc/{program}")  # a killed client harms nothing
        os.kill(program, signal.SIGKILL)


def test_signals_that_the_caller_ignored(container: Container) -> None:
    """nohup(1): the client leaves it ignored; the program begins with the default all the same."""
    container.prefix = ["/bin/sh", "-c", 'trap "" HUP PIPE; exec "$@"', "sh"]
    container.stdin = 1
    with container.start("sh", "-c", "grep SigIgn /proc/self/status; cat", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert read_until(process.stdout, b"\n").split() == [b"SigIgn:", b"0000000000000000"]
        process.send_signal(signal.SIGHUP)
        kill_program(process)
        process.communicate()
        assert process.returncode == 137


def test_blocked_signals_of_the_caller(container: Container) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        done = container.run("grep", "SigBlk", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})
    assert done.stdout.split() == [b"SigBlk:", b"0000000000000000"]


# --- init --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 3, 255])
def test_init_has_the_programs_status(container: Container, status: int) -> None:
    container.init = True
    assert container.run("sh", "-c", f"exit {status}").returncode == status


def test_init_reaps(container: Container) -> None:
    container.init = True
    script = "i=0; while [ $i -lt 20 ]; do (sleep 0.01 & ) ; i=$((i+1)); done; sleep 0.4; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l; echo $$"
    assert container.run("sh", "-c", script).stdout == b"0\n2\n"


def test_without_init_nobody_reaps(container: Container) -> None:
    """The twin: what is PID 1 is the program itself."""
    script = "exec 2>/dev/null; (sh -c 'sleep 0.01 & exec sleep 0.1' &) ; exec sleep 0.5"
    with container.start("sh", "-c", script) as process:
        program = program_of(process)
        until(lambda: any("Z" in line for child in children(program) for line in state(child)), "a zombie")
        process.communicate()


def state(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/status") as file:
            return [line for line in file if line.startswith("State")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_program_not_found_under_init(container: Container) -> None:
    container.init = True
    done = container.run("nope")
    assert (done.returncode, done.stderr) == (127, b"estiba: cannot start container: execute nope: not found in the container's PATH\n")


def test_program_that_cannot_run_under_init(container: Container, tmp_path: Path) -> None:
    container.init = True
    tool = tmp_path / "container" / "upper" / "tool"
    tool.write_bytes(b"no program")
    tool.chmod(0o755)
    assert container.run("/tool").returncode == 126


# --- terminals ---------------------------------------------------------------------------------------------------------------


def test_terminal(container: Container) -> None:
    terminal = Terminal(container, 33, 77, "sh", "-c", "stty size; tty; echo err >&2; read x; echo got $x; exit 9")
    assert terminal.expect(b"err\r\n") == b"33 77\r\n/dev/pts/0\r\nerr\r\n"
    os.write(terminal.master, b"word\r")
    terminal.expect(b"got word\r\n")
    assert terminal.close() == 9
    assert terminal.after == terminal.before


def test_terminal_is_resized(container: Container) -> None:
    terminal = Terminal(container, 20, 30, "sh", "-c", "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done")
    terminal.expect(b"ready\r\n")
    terminal.resize(41, 101)
    terminal.expect(b"41 101\r\n")
    assert terminal.close() == 0


def test_interrupt_key_reaches_the_program(container: Container) -> None:
    terminal = Terminal(container, 20, 30, "sh", "-c", "trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.01; done")
    terminal.expect(b"ready\r\n")
    os.write(terminal.master, b"\x03")
    terminal.expect(b"interrupted\r\n")
    assert terminal.close() == 4


def test_terminal_with_the_size_of_the_plan(container: Container) -> None:
    container.window = (12, 34)
    container.kind = TERMINAL
    assert container.run("stty", "size").stdout == b"12 34\r\n"


def test_job_control(container: Container) -> None:
    terminal = Terminal(container, 20, 30, "sh", "-c", "set -m; sleep 1000 & kill %1; wait; cut -d' ' -f5-8 /proc/self/stat; echo done")
    group, session, terminal_number, foreground = terminal.expect(b"done\r\n").split()[-5:-1]
    assert session == b"1"
    assert int(terminal_number) != 0
    assert foreground == group
    assert terminal.close() == 0


def test_terminal_of_a_killed_client_is_restored(container: Container) -> None:
    terminal = Terminal(container, 20, 30, "sh", "-c", "echo ready; exec sleep 1000")
    terminal.expect(b"ready\r\n")
    program = program_of(terminal.process)
    assert termios.tcgetattr(terminal.slave) != terminal.before
    terminal.process.kill()
    until(lambda: termios.tcgetattr(terminal.slave) == terminal.before, "the terminal's settings")
    os.kill(program, signal.SIGKILL)
    terminal.close()


def test_terminal_after_a_failure_to_launch(container: Container) -> None:
    terminal = Terminal(container, 20, 30, "nope")
    terminal.expect(b"not found in the container's PATH\r\n")
    assert terminal.close() == 127
    assert terminal.after == terminal.before
