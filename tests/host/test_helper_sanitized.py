"""Hostile clients, tables and output against monitor, keeper and first process, all built with the sanitizers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from estiba.plan import ops
from tests.support.clients import HEADER, INPUT, INPUT_END, LEAVE, SIGNAL, SIZE, Client, Terminal, admitted
from tests.support.plans import EVERY_CAPABILITY, REPORTS, TERMINAL, Container, read_until, until, upper_in
from tests.support.soak import times
from tests.support.watchers import MONITOR, keep_reaping, living, logged, status_lines

pytestmark = pytest.mark.soak


@pytest.fixture
def built(sanitized: str, container: Container) -> Container:
    container.helper = sanitized
    return container


@pytest.mark.parametrize("wrong", ["int few[2] = {1, 2}; return few[count + 1];", "char *few = malloc(2); return few[count + 1];"])
def test_reports_are_written(sanitized: str, tmp_path: Path, wrong: str) -> None:
    """The twin: something for the sanitizers to find is found, and where it is looked for."""
    source = tmp_path / "wrong.c"
    source.write_text("#include <stdlib.h>\nint main(int count, char **words) { (void)words; " + wrong + " }\n")
    options = Path(__file__).parents[2] / "helper" / "sanitize" / "options.c"
    program, reports = tmp_path / "wrong", tmp_path / "found"
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libubsan", f'-DREPORTS="{reports}"']
    subprocess.run(["gcc", *flags, source, options, "-o", program], check=True)
    assert subprocess.run([program], env={}, check=False).returncode != 0
    assert any("wrong" in path.read_text() for path in tmp_path.glob("found.*"))
    assert not list(REPORTS.iterdir())


def message(chance: random.Random) -> bytes:
    """Anything a hostile client might send: mostly messages, with numbers at the edges."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.choice((1, 15, 16, 17, 40, 20_000)))
    kind = chance.choice((INPUT, INPUT, INPUT_END, SIZE, LEAVE, 21, 1, 2, 6, 38, 39, 255, SIGNAL))
    number = chance.choice((0, 1, 2, 1 << 16, (1 << 32) - 1, chance.getrandbits(32)))
    if kind == SIGNAL:  # none that ends the program
        number = chance.choice((0, 17, 18, 28, 65, 1 << 20, (1 << 32) - 1))
    offset = chance.choice((0, 1, 16384, 1 << 31, 1 << 63, (1 << 64) - 1, chance.getrandbits(64)))
    return HEADER.pack(kind, chance.choice((0, 1, 2, 3, 255)), chance.getrandbits(16), number, offset) + chance.randbytes(
        chance.choice((0, 1, 100, 16384, 30_000))
    )


@pytest.mark.parametrize("kind", [1, TERMINAL], ids=["pipes", "terminal"])
@pytest.mark.parametrize("round_", times(3, 100))
def test_hostile_clients(built: Container, tmp_path: Path, kind: int, round_: int) -> None:
    """The monitor outlives them, and serves the next client."""
    chance = random.Random(round_)
    built.attached, built.stdin, built.kind = 0, 2, kind
    built.log(tmp_path / "log", max_size=20_000, max_files=2)
    built.listen(tmp_path, "attach")
    script = "stty raw -echo; " if kind == TERMINAL else ""
    assert built.run("sh", "-c", f"{script}echo ready; exec cat").returncode == 0
    until(lambda: b"ready" in logged(tmp_path / "log", b"stdout"), "the program")
    [monitor] = living(MONITOR)
    for _ in range(20):
        client = Client(tmp_path / "attach")
        client.socket.setblocking(False)
        for _ in range(chance.randrange(30)):
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                client.socket.send(message(chance))
            if chance.random() < 0.3:
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    client.socket.recv(65536)
        client.socket.close()
    client = until(lambda: admitted(tmp_path / "attach"), "room")
    client.write(b"still here\n")
    client.until(lambda: b"still here" in client.output[1])
    assert living(MONITOR) == [monitor]
    client.send(SIGNAL, signal.SIGKILL)
    client.until(lambda: client.status == 137)
    client.socket.close()


def test_output_of_every_shape(built: Container, tmp_path: Path) -> None:
    built.log(tmp_path / "log", max_size=5000, max_files=1000)
    script = "seq 3000; head -c 200000 /dev/zero; head -c 100000 /dev/urandom; for i in $(seq 300); do printf '%0*d\\n' $i 0; printf x; done"
    done = built.run("sh", "-c", script)
    assert done.returncode == 0
    assert logged(tmp_path / "log", b"stdout") == done.stdout


def test_terminal_and_keys(built: Container, tmp_path: Path) -> None:
    built.client = [ops.detach_keys(b"\x10\x10\x11")]
    built.listen(tmp_path, "attach")
    terminal = Terminal(built, 20, 30, "sh", "-c", "stty -echo; echo ready; read x; echo got $x; read x; exit 8")
    terminal.expect(b"ready\r\n")
    os.write(terminal.master, b"a\x10b\x10\x10c\x10\r")
    terminal.expect(b"got a\x10b\x10\x10c\x10\r\n")
    terminal.resize(41, 101)
    os.write(terminal.master, b"\x10\x10\x10\x11")
    terminal.expect(b"read escape sequence\r\n")
    assert terminal.close() == 0
    client = Client(tmp_path / "attach")
    client.write(b"\r")
    client.until(lambda: client.status == 8)
    client.socket.close()


def test_killed_monitors(built: Container, tmp_path: Path) -> None:
    import threading

    built.stdin = 2
    built.log(tmp_path / "log", max_size=10_000, max_files=1000)
    built.status(tmp_path / "status")
    built.listen(tmp_path, "attach")
    stop = threading.Event()
    reaper = threading.Thread(target=keep_reaping, args=(stop,))
    with built.start("sh", "-c", "echo ready; while read x; do seq 500; done; exit 5") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        client = Client(tmp_path / "attach")
        reaper.start()
        for _ in range(5):
            client.write(b"go\n")
            os.kill(until(lambda: living(MONITOR), "the monitor")[0], signal.SIGKILL)
        client.until(lambda: len(client.output[1]) == 5 * len("".join(f"{i}\n" for i in range(1, 501))))
        client.send(SIGNAL, signal.SIGKILL)
        client.until(lambda: client.status == 137)
        client.socket.close()
        process.communicate()
        stop.set()
        reaper.join()
    assert process.returncode == 137
    assert status_lines(tmp_path / "status")[-1][1] == "137"


TABLES = (
    b"", b"\n\n\n", b":", b"root", b"root:x:0:0", b"a:b:c:d:e:f:g:h:i\n" * 100, b"app:x:4294967295:0:::\n", b"app:x:99999999999999999999:0:::\n",
    b"app:x::::\n", b"\0" * 5000, b"app:x:5:6:app:" + b"/" * 100_000, b"app:" + b"x" * 70_000 + b":5:6::/home:\n", os.urandom(20_000),
)  # fmt: skip


@pytest.mark.parametrize("round_", times(6, 100))
def test_hostile_tables(busybox: Path, sanitized: str, tmp_path: Path, round_: int) -> None:
    """passwd(5) and group(5) of an image: an answer, or a refusal in words."""
    chance = random.Random(round_)
    for number in range(4):
        container = Container(busybox, upper_in(tmp_path / str(number)))
        container.helper = sanitized
        etc = tmp_path / str(number) / "container" / "upper" / "etc"
        etc.mkdir()
        for name in ("passwd", "group"):
            (etc / name).write_bytes(b"".join(chance.sample(TABLES, 3)))
        user = chance.choice(("app", "app:app", "5", "5:wheel", "0:0", "root"))
        container.identity = [ops.bounding(EVERY_CAPABILITY), ops.user(user, chance.choice(([], ["app"], ["7"])), 0o022, 1)]
        done = container.run("sh", "-c", "echo $HOME")
        assert done.returncode in {0, 125}, done.stderr
        assert done.returncode == 0 or done.stderr.startswith(b"estiba: cannot start container: user "), done.stderr


SUITES = ("after", "streams", "attach", "log", "watchers", "execute", "rootfs", "roots", "users", "identity")


@pytest.mark.parametrize("suite", SUITES[: len(times(1, len(SUITES)))])
def test_every_test_of_the_helper(sanitized: str, suite: str) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-x", f"tests/host/test_helper_{suite}.py"]
    environment = os.environ | {"ESTIBA_SOAK": "", "ESTIBA_TEST_HELPER": sanitized}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
