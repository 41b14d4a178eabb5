"""kill -9 of the monitor at every time of a container's life, alone and together with the client (K03).

The program is unharmed, its status becomes right, whoever reads gets every byte once: the client that started it, one that attached, the
log, and who follows the log.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from estiba.engine.log_files import Files
from tests.support.clients import SIGNAL, Client
from tests.support.plans import Container, read_until, until, upper_in
from tests.support.soak import times
from tests.support.watchers import KEEPER, MONITOR, field, is_locked, keep_reaping, living, logged, program_of, status_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[[str], "Life"]

pytestmark = pytest.mark.soak

ROUNDS = times(6, 200)
LINES = 3000
OUTPUT = b"".join(b"%d\n" % number for number in range(1, LINES + 1))


class Follower(threading.Thread):
    """Reads the log while it is written, as `logs -f` does."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.text = b""
        self.over = threading.Event()

    def run(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        files = Files(folder)
        last = False
        while not last:
            last = self.over.is_set()
            for _, record in files.records():
                if record.stream == 1:
                    self.text += record.text + (b"" if record.partial else b"\n")
            time.sleep(0.001)
        files.close()
        os.close(folder)


class Life:
    """A container with everything that reads it."""

    def __init__(self, busybox: Path, folder: Path, script: str) -> None:
        self.folder = folder
        container = Container(busybox, upper_in(folder))
        container.stdin = 2
        container.log(folder / "log", max_size=8000, max_files=1000)
        container.status(folder / "status")
        container.listen(folder, "attach")
        self.process: subprocess.Popen[bytes] = container.start("sh", "-c", script)
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        self.begin = read_until(self.process.stdout, b"ready\n")
        self.program = program_of(self.process)
        self.client = Client(folder / "attach")
        self.client.until(lambda: self.client.started)
        self.follower = Follower(folder)
        self.stop = threading.Event()
        self.reaper = threading.Thread(target=keep_reaping, args=(self.stop,))
        self.follower.start()
        self.reaper.start()

    def say(self) -> None:
        """What the program waits for."""
        self.client.write(b"go\n")

    def kill_monitor(self) -> None:
        for pid in living(MONITOR):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self, code: int, output: bytes, *, client_lives: bool = True, error: bytes = b"") -> None:
        """Everybody has everything, once."""
        expected = self.begin + output
        self.client.until(lambda: self.client.status is not None)
        assert self.client.status == code
        assert self.client.output[1] == output
        self.client.socket.close()
        out, err = self.process.communicate(timeout=60)
        if client_lives:
            assert (self.process.returncode, self.begin + out, err) == (code, expected, error)
        until(lambda: not is_locked(self.folder / "status"), "the end")
        assert [line[:3] for line in status_lines(self.folder / "status")] == [
            ["running", str(self.program), status_lines(self.folder / "status")[0][2]], ["exited", str(code), "0"],
        ]  # fmt: skip
        self.close()
        assert logged(self.folder / "log", b"stdout") == expected
        assert self.follower.text == expected

    def close(self) -> None:
        self.follower.over.set()
        self.stop.set()
        self.follower.join()
        self.reaper.join()
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.program, signal.SIGKILL)
            self.process.kill()
        self.process.communicate()
        self.client.socket.close()


@pytest.fixture
def live(busybox: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a life, once."""
    made: list[Life] = []

    def start(script: str) -> Life:
        made.append(Life(busybox, tmp_path, script))
        return made[0]

    yield start
    for life in made:
        life.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_idle(live: Start, round_: int) -> None:
    life = live(f"echo ready; read go; seq {LINES}; exit 42")
    for _ in range(random.Random(round_).randrange(1, 4)):
        life.kill_monitor()
        until(lambda: living(MONITOR), "a new monitor")
    life.say()
    life.end(42, OUTPUT)


@pytest.mark.parametrize("round_", ROUNDS)
def test_during_output(live: Start, round_: int) -> None:
    chance = random.Random(round_)
    life = live(f"echo ready; read go; seq {LINES}; exit 42")
    life.say()
    for _ in range(3):
        time.sleep(chance.random() * 0.01)
        life.kill_monitor()
    life.end(42, OUTPUT)


@pytest.mark.parametrize("round_", ROUNDS)
def test_during_stop(live: Start, round_: int) -> None:
    """The program is told to stop and takes its time; the monitor dies meanwhile."""
    chance = random.Random(round_)
    life = live(f"trap 'seq {LINES}; exit 43' TERM; echo ready; while :; do sleep 0.005; done")
    life.client.send(SIGNAL, signal.SIGTERM)
    life.client.until(lambda: life.client.output[1])
    time.sleep(chance.random() * 0.01)
    life.kill_monitor()
    life.end(43, OUTPUT)


@pytest.mark.parametrize("round_", ROUNDS)
def test_at_the_programs_exit(live: Start, round_: int) -> None:
    chance = random.Random(round_)
    life = live("echo ready; read go; echo bye; exit 44")
    life.say()
    time.sleep(chance.random() * 0.006)
    life.kill_monitor()
    life.end(44, b"bye\n")


def test_the_last_word_of_a_monitor_is_heard(live: Start) -> None:
    """The program ends and the monitor dies before the keeper has read who attached."""
    life = live("echo ready; read go; exit 44")
    (keeper,) = living(KEEPER)
    os.kill(keeper, signal.SIGSTOP)
    late = Client(life.folder / "attach")
    late.until(lambda: late.started)
    life.say()
    until(lambda: field(life.program, "State")[:1] == "Z", "the program's end")
    life.kill_monitor()
    os.kill(keeper, signal.SIGCONT)
    late.until(lambda: late.status is not None)
    assert late.status == 44
    late.socket.close()
    life.end(44, b"")


@pytest.mark.parametrize("round_", ROUNDS)
def test_together_with_the_client(live: Start, round_: int) -> None:
    chance = random.Random(round_)
    life = live(f"echo ready; read go; seq {LINES}; read go; exit 45")
    life.say()
    time.sleep(chance.random() * 0.01)
    victims = [life.process.pid, *living(MONITOR)]
    chance.shuffle(victims)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    life.say()
    life.end(45, OUTPUT, client_lives=False)


# What the monitor calls in the test below, and how often at most.
CALLS = {
    "write": 10, "renameat": 24, "openat": 8, "splice": 7, "tee": 4, "read": 6, "sendmsg": 9, "recvmsg": 5, "ioctl": 16, "lseek": 9,
    "ppoll": 6, "faccessat2": 24, "close": 8, "accept4": 2, "setsockopt": 3,
}  # fmt: skip
STEPS = [(call, number) for call, most in CALLS.items() for number in range(1 + (call == "ppoll"), most + 1)]  # it is in a ppoll(2)
SAMPLE = [STEPS[13 * round_ % len(STEPS)] for round_ in times(30, len(STEPS))]
DELAY = 0.2


@pytest.mark.parametrize(("call", "number"), SAMPLE)
@pytest.mark.parametrize("when", ["before", "behind"])
def test_at_a_system_call(live: Start, call: str, number: int, when: str) -> None:
    """At each step of input, output, log, rotation and end, one after another: killed before the call, and when it was done."""
    life = live("echo ready; read go; seq 1000; echo err >&2; exit 42")
    monitor = living(MONITOR)[0]
    injected = "signal=KILL" if when == "before" else f"delay_exit={int(DELAY * 1e6)}"
    words = ["strace", "-qq", "-p", str(monitor), f"--inject={call}:{injected}:when={number}", "-o", "/dev/null"]
    with subprocess.Popen(words) as tracer:
        until(lambda: field(monitor, "TracerPid") == str(tracer.pid) or monitor not in living(MONITOR), "strace")
        life.say()
        if when == "behind":
            time.sleep(DELAY / 2)
            life.kill_monitor()
        life.client.until(lambda: life.client.status is not None)
        tracer.terminate()
    assert life.client.output == {1: b"".join(b"%d\n" % i for i in range(1, 1001)), 2: b"err\n"}
    assert logged(life.folder / "log", b"stderr") == b"err\n"
    life.end(42, life.client.output[1], error=b"err\n")
