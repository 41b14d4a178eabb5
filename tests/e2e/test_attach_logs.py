"""`attach` and `logs` on containers of real Alpine, from the command line."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command import Command, command_under_test
from tests.support.containers import IMAGE, Remains
from tests.support.plans import comm, descendants, read_until, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "c1"


class Started:
    """Containers that tests start in the foreground of another process, and other commands beside them."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        for name in ("stdin", "stdout", "stderr"):
            streams.setdefault(name, subprocess.PIPE)
        process = subprocess.Popen([*command_under_test(), *words], env=self.environment, **streams)
        self.processes.append(process)
        return process

    def run(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        return self("run", "--name", NAME, *words, **streams)


@pytest.fixture
def started(environment: dict[str, str], alpine_store: Path, remains: Remains, estiba: Command) -> Iterator[Started]:
    begun = Started(environment | {"ESTIBA_ROOT": str(alpine_store)})
    yield begun
    for process in begun.processes:
        for pid in [process.pid, *descendants(process.pid)] if process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
    estiba("system", "prune", "-f", ESTIBA_ROOT=str(alpine_store))
    assert not remains.gone()


@pytest.fixture
def ask(estiba: Command, alpine_store: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return estiba(*words, ESTIBA_ROOT=str(alpine_store), **more)

    return call


# --- logs --------------------------------------------------------------------------------------------------------------------


def test_logs_of_a_container_that_ended(started: Started, ask: Any) -> None:
    started.run(IMAGE, "sh", "-c", "echo out; echo err >&2; sleep 0.2; printf 'no end'").communicate()
    done = ask("logs", NAME)
    assert (done.stdout, done.stderr) == ("out\nno end", "err\n")
    assert ask("logs", "-f", NAME).stdout == "out\nno end"
    assert ask("container", "logs", "--tail", "1", NAME).stdout == "no end"
    stamped = ask("logs", "-t", "-n", "3", NAME).stdout.splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (out|no end)", line) for line in stamped)
    moment = stamped[1].split(" ")[0]
    assert ask("logs", "--since", moment, NAME).stdout == "no end"
    assert ask("logs", "--since", "1h", "--until", "59m", NAME).stdout == ""


def test_logs_follow_a_container_to_its_end(started: Started, ask: Any) -> None:
    runner = started.run("-i", IMAGE, "sh", "-c", "echo one; read x; echo two; read x; echo three; exit 4")
    assert runner.stdout is not None
    assert runner.stdin is not None
    read_until(runner.stdout, b"one\n")
    follower = started("logs", "-f", NAME)
    assert follower.stdout is not None
    read_until(follower.stdout, b"one\n")
    os.write(runner.stdin.fileno(), b"\n")
    read_until(follower.stdout, b"two\n")
    runner.communicate(b"\n")
    assert follower.communicate(timeout=60) == (b"three\n", b"")
    assert follower.returncode == 0


def test_logs_follow_a_container_that_is_removed(started: Started) -> None:
    """`--rm`: all of it comes, though the folder is gone."""
    runner = started.run("--rm", "-i", IMAGE, "sh", "-c", "echo ready; read x; seq 50000")
    assert runner.stdout is not None
    read_until(runner.stdout, b"ready\n")
    follower = started("logs", "-f", NAME)
    assert follower.stdout is not None
    read_until(follower.stdout, b"ready\n")
    runner.communicate(b"\n")
    out, err = follower.communicate(timeout=60)
    assert (out, err) == (b"".join(b"%d\n" % number for number in range(1, 50_001)), b"")


def test_logs_follow_over_rotations(started: Started) -> None:
    """Two readers, of which one is slower than the program; neither loses or doubles a byte."""
    runner = started.run("-i", "--log-opt", "max-size=50k", "--log-opt", "max-file=40", IMAGE, "sh", "-c", "echo ready; read x; seq 20000")
    assert runner.stdout is not None
    read_until(runner.stdout, b"ready\n")
    followers = [started("logs", "-f", NAME), started("logs", "--follow", "--tail", "0", NAME)]
    for follower in followers[:1]:
        assert follower.stdout is not None
        read_until(follower.stdout, b"ready\n")
    until(lambda: has_open(followers[1].pid, "/log"), "the second")
    runner.communicate(b"\n")
    expected = b"".join(b"%d\n" % number for number in range(1, 20_001))
    for follower in followers:
        out, err = follower.communicate(timeout=60)
        assert (out.removeprefix(b"ready\n"), err) == (expected, b"")


def has_open(pid: int, end: str) -> bool:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(path).endswith(end):
                return True
    return False


def test_log_of_a_terminal_is_all_output(started: Started, ask: Any) -> None:
    started.run("-t", IMAGE, "sh", "-c", "echo out; echo err >&2").communicate()
    done = ask("logs", NAME)
    assert (done.stdout, done.stderr) == ("out\r\nerr\r\n", "")


def test_no_log(started: Started, ask: Any) -> None:
    started.run("--log-driver", "none", IMAGE, "echo", "x").communicate()
    refused = ask("logs", NAME, status=1)
    assert refused.stderr == f"estiba: cannot show the log of container {NAME}: it keeps none (--log-driver none)\n"


def test_details(started: Started, ask: Any) -> None:
    options = ["--label", "a=x y", "--label", "b=2", "-e", "V=/", "--log-opt", "labels=a,none", "--log-opt", "env=V"]
    started.run(*options, IMAGE, "echo", "x").communicate()
    assert ask("logs", "--details", NAME).stdout == "V=%2F,a=x+y x\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nope"], 1, "cannot find container 'nope': no such container"),
        (["--tail", "x", "c"], 125, "cannot use --tail 'x': not a number of lines"),
        (["--since", "yesterday", "c"], 125, "cannot use --since 'yesterday': not a time"),
        ([], 125, ""),
    ],
)
def test_bad_input_of_logs(ask: Any, words: list[str], status: int, said: str) -> None:
    assert said in ask("logs", *words, status=status).stderr


def test_logs_to_a_full_disk(started: Started, environment: dict[str, str]) -> None:
    started.run(IMAGE, "echo", "x").communicate()
    with open("/dev/full", "w") as full:
        failed = started("logs", NAME, stdout=full)
        assert failed.communicate()[1] == b"estiba: cannot write standard output: write error: No space left on device\n"
    assert failed.returncode == 1


# --- attach --------------------------------------------------------------------------------------------------------------------


def test_attach(started: Started) -> None:
    runner = started.run("-i", IMAGE, "sh", "-c", "echo ready; read x; echo got $x; echo err >&2; read y; exit 7")
    assert runner.stdout is not None
    read_until(runner.stdout, b"ready\n")
    attached = started("attach", NAME)
    assert attached.communicate(b"word\nmore\n", timeout=60) == (b"got word\n", b"err\n")
    assert attached.returncode == 7
    assert runner.communicate()[0] == b"got word\n"
    assert runner.returncode == 7


def test_attach_only_to_look(started: Started) -> None:
    runner = started.run("-i", IMAGE, "sh", "-c", "echo ready; read x; echo got $x; exit 7")
    assert runner.stdout is not None
    read_until(runner.stdout, b"ready\n")
    looker = started("attach", "--no-stdin", "--sig-proxy=false", NAME)
    other = started("attach", "--no-stdin", "--sig-proxy=false", NAME)
    until(lambda: comm(other.pid) == comm(looker.pid) == "estiba", "the clients")
    until(lambda: clients_of(runner) >= 3, "the connections")
    looker.send_signal(signal.SIGINT)
    assert looker.wait(30) == -signal.SIGINT
    runner.communicate(b"word\n")
    assert other.communicate(b"not for the program\n", timeout=60) == (b"got word\n", b"")
    assert (other.returncode, runner.returncode) == (7, 7)


def clients_of(runner: subprocess.Popen[bytes]) -> int:
    """The connections that the monitor holds: to its clients, and one to the keeper."""
    monitor = next(pid for pid in descendants(runner.pid) if comm(pid) == "estiba-monitor")
    with contextlib.suppress(FileNotFoundError):
        return sum(os.readlink(f"/proc/{monitor}/fd/{fd}").startswith("socket:") for fd in os.listdir(f"/proc/{monitor}/fd")) - 2
    return 0


def test_detach_from_run_and_attach_again(started: Started) -> None:
    master, slave = pty.openpty()
    runner = started.run(
        "-it", "--detach-keys", "ctrl-x,y", IMAGE, "sh", "-c", "echo ready; read x; echo got $x; exit 8", stdin=slave, stdout=slave, stderr=slave
    )
    read_until(master, b"ready\r\n")
    os.write(master, b"\x18y")
    read_until(master, b"read escape sequence\r\n")
    assert runner.wait(30) == 0
    again = started("attach", NAME, stdin=slave, stdout=slave, stderr=slave)
    os.write(master, b"word\r")
    read_until(master, b"got word\r\n")
    assert again.wait(30) == 8
    os.close(slave)
    os.close(master)


def test_attach_to_a_terminal_without_one(started: Started, ask: Any) -> None:
    runner = started.run("-it", IMAGE, "sh", "-c", "echo ready; read x")
    assert runner.stdout is not None
    read_until(runner.stdout, b"ready\r\n")
    refused = ask("attach", NAME, status=1)
    assert refused.stderr == f"estiba: cannot attach to container {NAME}: it has a terminal, and standard input is none\nhint: use --no-stdin\n"
    runner.communicate(b"\n")


def test_attach_to_what_does_not_run(started: Started, ask: Any) -> None:
    started.run(IMAGE, "true").communicate()
    assert ask("attach", NAME, status=1).stderr == (
        f"estiba: cannot attach to container {NAME}: it is exited\nhint: start it first: estiba start {NAME}\n"
    )
    assert ask("attach", "nope", status=1).stderr.startswith("estiba: cannot find container 'nope'")
    assert ask("attach", "--detach-keys", "ctrl-1", NAME, status=125).stderr.startswith("estiba: cannot use --detach-keys 'ctrl-1': not a list of keys")


def test_reader_of_run_that_went_away(started: Started) -> None:
    """`run --rm ... | head -1` ends the program, whose log goes with it; without --rm the log is a reader, and it goes on."""
    removed = started.run("--rm", IMAGE, "sh", "-c", "yes; echo never")
    assert removed.stdout is not None
    read_until(removed.stdout, b"y\n")
    removed.stdout.close()
    assert removed.wait(30) == -signal.SIGPIPE
    removed.communicate()
    kept = started.run("-i", IMAGE, "sh", "-c", "echo first; read x; echo second; echo third")
    assert kept.stdout is not None
    assert kept.stdin is not None
    read_until(kept.stdout, b"first\n")
    follower = started("logs", "-f", NAME)
    kept.stdout.close()
    os.write(kept.stdin.fileno(), b"\n")
    assert kept.wait(30) == -signal.SIGPIPE
    assert follower.communicate(timeout=60) == (b"first\nsecond\nthird\n", b"")
