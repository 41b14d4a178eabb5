"""Clients that attach to a container that runs: the messages of PROTOCOL.md, "Clients", and `estiba-init attach`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time
from typing import TYPE_CHECKING

import pytest

from estiba.plan import ops
from tests.support.clients import (
    FAILED,
    HEADER,
    INPUT,
    INPUT_END,
    SIGNAL,
    SIZE,
    STARTED,
    Client,
    Terminal,
    admitted,
)
from tests.support.leaks import reap
from tests.support.plans import HELPER, TERMINAL, Container, comm, read_until, until
from tests.support.watchers import MONITOR, field, is_locked, living, logged, status_lines

if TYPE_CHECKING:
    from pathlib import Path

DETACH_KEYS = ops.detach_keys(b"\x10\x11")  # ctrl-p, ctrl-q


@pytest.fixture
def listening(container: Container, tmp_path: Path) -> Container:
    """A detached container with its input open and a socket `attach`."""
    container.attached, container.stdin = 0, 2
    container.status(tmp_path / "status")
    container.listen(tmp_path, "attach")
    container.log(tmp_path / "log")
    return container


def ready(folder: Path) -> None:
    """Waits until the program said so, which a client that attaches later does not hear."""
    until(lambda: b"ready" in logged(folder / "log", b"stdout"), "the program")


def detach(container: Container, *words: str) -> None:
    """Starts it; the client's exit says that the program runs."""
    done = container.run(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_attach(listening: Container, tmp_path: Path) -> None:
    detach(listening, "sh", "-c", "read x; echo got $x; echo err >&2; read y; exit 7")
    client = Client(tmp_path / "attach")
    client.until(lambda: client.started)
    client.write(b"word\n")
    client.until(lambda: client.output == {1: b"got word\n", 2: b"err\n"})
    second = Client(tmp_path / "attach")
    second.write(b"more\n")
    for each in (client, second):
        each.until(lambda each=each: each.status == 7)
        each.socket.close()


def test_attach_much(listening: Container, tmp_path: Path) -> None:
    data = random.Random(0).randbytes(3_000_000)
    detach(listening, "sh", "-c", f"head -c {len(data)}; exit 0")
    client = Client(tmp_path / "attach")
    writer = threading.Thread(target=client.write, args=(data,))
    writer.start()
    writer.join(60)
    client.until(lambda: client.status == 0)
    assert client.output[1] == data
    client.socket.close()


def test_attached_signals_and_size(listening: Container, tmp_path: Path) -> None:
    listening.kind = TERMINAL
    detach(listening, "sh", "-c", "trap 'stty size' WINCH; trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.01; done")
    ready(tmp_path)
    client = Client(tmp_path / "attach")
    client.send(SIZE, 24 << 16 | 80)
    client.until(lambda: b"24 80\r\n" in client.output[1])
    client.send(SIGNAL, signal.SIGUSR1)
    client.until(lambda: client.status == 5)
    assert b"usr1\r\n" in client.output[1]
    client.socket.close()


def test_attached_client_that_is_gone(listening: Container, tmp_path: Path) -> None:
    """Neither its death nor garbage from it harms the container or others."""
    detach(listening, "sh", "-c", "read x; echo $x; read y; exit 0")
    hostile = [Client(tmp_path / "attach") for _ in range(3)]
    hostile[0].socket.send(b"x")
    hostile[1].socket.send(b"\xc8" + os.urandom(40))  # a type that there is not
    hostile[1].socket.send(HEADER.pack(SIGNAL, 0, 0, 0xFFFFFFFF, 0))
    hostile[2].socket.send(HEADER.pack(INPUT, 0, 0, 0, 1 << 63) + b"")
    for each in hostile:
        each.socket.close()
    client = Client(tmp_path / "attach")
    client.write(b"one\n")
    client.until(lambda: client.output[1] == b"one\n")
    client.write(b"two\n")
    client.until(lambda: client.status == 0)
    client.socket.close()


def test_socket_is_its_owners(listening: Container, tmp_path: Path) -> None:
    detach(listening, "cat")
    path = tmp_path / "attach"
    assert path.stat().st_mode & 0o777 == 0o600
    if os.geteuid() == 0:
        path.chmod(0o777)  # the twin: even a socket that everybody may open is its owner's
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        code = f"import socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET);s.settimeout(30);s.connect({str(path)!r});print(s.recv(9))"
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-I", "-c", code], capture_output=True, check=False
        )
        assert done.stdout == b"b''\n", done
    client = Client(path)
    client.send(SIGNAL, signal.SIGKILL)
    client.until(lambda: client.status == 137)
    client.socket.close()


def test_attach_after_the_monitor_was_killed(listening: Container, tmp_path: Path) -> None:
    detach(listening, "sh", "-c", "read x; echo got $x; exit 9")
    monitor = until(lambda: living(MONITOR), "the monitor")[0]
    os.kill(monitor, signal.SIGKILL)
    os.waitpid(monitor, 0)
    client = Client(tmp_path / "attach")
    client.write(b"word\n")
    client.until(lambda: client.status == 9)
    assert client.output[1] == b"got word\n"
    client.socket.close()
    until(lambda: not is_locked(tmp_path / "status"), "the end")
    reap()


def test_client_outlives_the_monitor(listening: Container, tmp_path: Path) -> None:
    """The keeper holds its connection: what comes afterwards reaches it too, once, and its own input as well."""
    detach(listening, "sh", "-c", "while read x; do seq $x; done; exit 9")
    client = Client(tmp_path / "attach")
    client.until(lambda: client.started)
    expected = b""
    for number in range(1, 40):
        client.write(b"%d\n" % number)
        expected += b"".join(b"%d\n" % i for i in range(1, number + 1))
        if number % 4 == 0:
            os.kill(until(lambda: living(MONITOR), "the monitor")[0], signal.SIGKILL)
            reap()
    client.until(lambda: client.output[1] == expected)
    client.send(SIGNAL, signal.SIGKILL)
    client.until(lambda: client.status == 137)
    client.socket.close()
    reap()


def connected(process: subprocess.Popen[bytes]) -> None:
    """Waits until the client has its name, which it takes when it is connected."""
    until(lambda: comm(process.pid) == "estiba", "the connection")


def test_more_clients_than_there_may_be(listening: Container, tmp_path: Path) -> None:
    detach(listening, "sh", "-c", "read x; exit 3")
    clients = [Client(tmp_path / "attach") for _ in range(15)]
    for client in clients:
        assert client.receive() == STARTED
    one_more = Client(tmp_path / "attach")
    assert (one_more.receive(), one_more.receive()) == (FAILED, 0)
    one_more.socket.close()
    refused = listening.attach(tmp_path, "attach")
    assert refused.communicate()[1] == b"estiba: cannot attach to container: monitor has as many clients as it takes\n"
    assert refused.returncode == 1
    clients.pop().socket.close()
    last = until(lambda: admitted(tmp_path / "attach"), "room for another")
    last.write(b"go\n")
    for client in [*clients, last]:
        client.until(lambda client=client: client.status == 3)
        client.socket.close()


# --- the end of input --------------------------------------------------------------------------------------------------------


def test_input_that_stays_open(listening: Container, tmp_path: Path) -> None:
    """`run -di`: neither the end of a client's input nor its own is the program's."""
    detach(listening, "sh", "-c", "read x; echo $x; read y; echo $y; exit 0")
    first = Client(tmp_path / "attach")
    first.write(b"one\n")
    first.send(INPUT_END)
    first.until(lambda: first.output[1] == b"one\n")
    first.socket.close()
    second = Client(tmp_path / "attach")
    second.write(b"two\n")
    second.until(lambda: second.status == 0)
    assert second.output[1] == b"two\n"
    second.socket.close()


def test_input_that_ends_once(listening: Container, tmp_path: Path) -> None:
    """Docker's StdinOnce: the end of a client's input is the program's, which may still write."""
    listening.stdin = 1
    detach(listening, "sh", "-c", "cat; echo end; exit 4")
    reader, writer = Client(tmp_path / "attach"), Client(tmp_path / "attach")
    writer.write(b"text\n")
    writer.send(INPUT_END)
    for client in (reader, writer):
        client.until(lambda client=client: client.status == 4)
        assert client.output[1] == b"text\nend\n"
        client.socket.close()


def test_input_of_a_client_that_dies(listening: Container, tmp_path: Path) -> None:
    """The same for one that was killed; but not for one that never sent anything."""
    listening.stdin = 1
    detach(listening, "sh", "-c", "cat; echo end; exit 4")
    reader, silent, writer = (Client(tmp_path / "attach") for _ in range(3))
    silent.until(lambda: silent.started)
    silent.socket.close()
    writer.write(b"text\n")
    writer.until(lambda: writer.output[1] == b"text\n")
    writer.socket.close()
    reader.until(lambda: reader.status == 4)
    assert reader.output[1] == b"text\nend\n"
    reader.socket.close()


# --- clients that do not read (E03) --------------------------------------------------------------------------------------------


def test_client_that_does_not_read_is_dropped(listening: Container, tmp_path: Path) -> None:
    """It holds the program up for seconds and no longer; when it reads again it gets what was on its way, and is told."""
    detach(listening, "sh", "-c", "read go; seq 100000; read go; exit 6")
    stopped, reader = Client(tmp_path / "attach"), Client(tmp_path / "attach")
    reader.write(b"go\n")
    text = b"".join(b"%d\n" % i for i in range(1, 100_001))
    reader.until(lambda: reader.output[1] == text)
    assert logged(tmp_path / "log", b"stdout") == text
    while stopped.receive():
        pass
    assert stopped.dropped
    assert text.startswith(stopped.output[1])
    assert len(stopped.output[1]) < len(text)
    stopped.socket.close()
    reader.write(b"go\n")
    reader.until(lambda: reader.status == 6)
    reader.socket.close()


def test_stopped_client_says_why_it_ends(listening: Container, tmp_path: Path) -> None:
    detach(listening, "sh", "-c", "read go; seq 100000; exit 6")
    process = listening.attach(tmp_path, "attach")
    connected(process)
    other = Client(tmp_path / "attach")
    other.until(lambda: other.started)
    process.send_signal(signal.SIGSTOP)
    other.write(b"go\n")
    other.until(lambda: other.status == 6)
    other.socket.close()
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith(b"estiba: cannot go on with the container's output: it was not read for too long\nhint: ")
    assert b"".join(b"%d\n" % i for i in range(1, 100_001)).startswith(out)


def test_slow_client_is_not_dropped(listening: Container, tmp_path: Path) -> None:
    """The twin: one that reads now and then holds the program up, as a pipe does."""
    detach(listening, "sh", "-c", "read go; seq 100000; exit 6")
    slow = Client(tmp_path / "attach")
    slow.write(b"go\n")
    deadline = time.monotonic() + 7
    while time.monotonic() < deadline:
        slow.receive()
        time.sleep(0.4)
    slow.until(lambda: slow.status == 6)
    assert slow.output[1] == b"".join(b"%d\n" % i for i in range(1, 100_001))
    slow.socket.close()


def test_first_client_that_does_not_read_holds_the_program(container: Container, tmp_path: Path) -> None:
    """As a pipe does, and for as long as it likes; the program's end is not held up by what is left."""
    container.status(tmp_path / "status")
    with container.start("sh", "-c", "echo ready; seq 100000; echo end >&2; exit 6") as process:
        assert process.stdout is not None
        ready = read_until(process.stdout, b"ready\n")
        process.send_signal(signal.SIGSTOP)
        time.sleep(6)
        assert [line[0] for line in status_lines(tmp_path / "status")] == ["running"]
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (6, b"end\n")
    assert ready + out == b"ready\n" + b"".join(b"%d\n" % i for i in range(1, 100_001))


def test_stopped_first_client_does_not_hold_the_end(container: Container, tmp_path: Path) -> None:
    container.status(tmp_path / "status")
    with container.start("sh", "-c", "echo ready; sleep 0.5; head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; exit 6") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        process.send_signal(signal.SIGSTOP)
        until(lambda: status_lines(tmp_path / "status")[-1][0] == "exited", "the end")
        until(lambda: not is_locked(tmp_path / "status"), "the monitor's end")
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, len(out), len(err)) == (6, 60_000, 60_000)


# --- estiba-init attach -----------------------------------------------------------------------------------------------------------


def test_attach_command(listening: Container, tmp_path: Path) -> None:
    detach(listening, "sh", "-c", "read x; echo got $x; echo err >&2; read y; exit 7")
    process = listening.attach(tmp_path, "attach")
    assert process.communicate(b"word\nmore\n", timeout=60) == (b"got word\n", b"err\n")
    assert process.returncode == 7


def test_attach_command_without_input(listening: Container, tmp_path: Path) -> None:
    detach(listening, "sh", "-c", "read x; echo got $x; exit 7")
    listening.stdin = 0
    silent = listening.attach(tmp_path, "attach", stdin=subprocess.PIPE)
    connected(silent)
    assert silent.stdin is not None
    os.write(silent.stdin.fileno(), b"not for the program\n")
    client = Client(tmp_path / "attach")
    client.write(b"word\n")
    client.until(lambda: client.status == 7)
    client.socket.close()
    assert silent.communicate(timeout=60) == (b"got word\n", b"")
    assert silent.returncode == 7


@pytest.mark.parametrize("proxy", [True, False])
def test_signals_of_an_attached_client(listening: Container, tmp_path: Path, proxy: bool) -> None:
    detach(listening, "sh", "-c", "trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    ready(tmp_path)
    listening.signal_proxy = int(proxy)
    process = listening.attach(tmp_path, "attach")
    watcher = Client(tmp_path / "attach")
    watcher.until(lambda: watcher.started)
    until(lambda: int(field(process.pid, "SigCgt"), 16) >> (signal.SIGTERM - 1) & 1 == proxy, "the handlers")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == (5 if proxy else -signal.SIGTERM)
    if not proxy:
        watcher.send(SIGNAL, signal.SIGKILL)
    watcher.until(lambda: watcher.status == (5 if proxy else 137))
    watcher.socket.close()


def test_attach_to_nothing(listening: Container, tmp_path: Path) -> None:
    process = listening.attach(tmp_path, "attach")
    assert process.communicate(timeout=60)[1] == (
        b"estiba: cannot attach to container: monitor is gone: the container has ended, or the monitor was killed\n"
    )
    assert process.returncode == 1
    listening.close()


def test_reader_of_an_attached_client_that_went_away(listening: Container, tmp_path: Path) -> None:
    """`attach | head -1` ends as any filter does; the container goes on."""
    detach(listening, "sh", "-c", "while read x; do seq $x; done; exit 7")
    process = listening.attach(tmp_path, "attach", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    os.write(process.stdin.fileno(), b"1\n")
    read_until(process.stdout, b"1\n")
    process.stdout.close()
    os.write(process.stdin.fileno(), b"2\n")
    assert process.wait(30) == -signal.SIGPIPE
    process.communicate()
    client = Client(tmp_path / "attach")
    client.write(b"3\n")
    client.until(lambda: client.output[1].endswith(b"1\n2\n3\n"))
    client.send(SIGNAL, signal.SIGKILL)
    client.until(lambda: client.status == 137)
    client.socket.close()


# --- a helper of another version (H01) --------------------------------------------------------------------------------------------


def test_monitor_of_another_version(container: Container, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "attach"))
        listener.listen()
        process = container.attach(tmp_path, "attach")
        connection, _ = listener.accept()
        connection.send(HEADER.pack(STARTED, 0, 0, 2, 0))
        _, err = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 1
    assert err.startswith(b"estiba: cannot attach to container: monitor is of another version of estiba (protocol 2, not 1)\nhint: ")


def test_helper_replaced_while_a_container_runs(listening: Container, tmp_path: Path) -> None:
    """Keeper and monitor run from a sealed copy: a new file in the helper's place takes nothing away from them."""
    helper = tmp_path / "estiba-init"
    shutil.copy(listening.helper, helper)
    listening.helper = str(helper)
    detach(listening, "sh", "-c", "read x; echo got $x; exit 7")
    helper.write_bytes(b"")
    os.kill(until(lambda: living(MONITOR), "the monitor")[0], signal.SIGKILL)
    reap()
    shutil.copy(HELPER, tmp_path / "new")
    os.replace(tmp_path / "new", helper)
    process = listening.attach(tmp_path, "attach")
    assert process.communicate(b"word\n", timeout=60) == (b"got word\n", b"")
    assert process.returncode == 7


# --- terminals ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(listening: Container, tmp_path: Path) -> Container:
    """A detached container with a terminal, which says what it reads."""
    listening.kind = TERMINAL
    listening.client = [DETACH_KEYS]
    detach(listening, "sh", "-c", "stty -echo; trap 'stty size' WINCH; echo ready; while :; do read x && echo got $x; [ \"$x\" = end ] && exit 7; done")
    ready(tmp_path)
    return listening


def end(path: Path) -> None:
    client = Client(path)
    client.write(b"\rend\r")  # a key that was not for detaching may wait for the end of its line
    client.until(lambda: client.status == 7)
    client.socket.close()


def test_attached_terminal(shell: Container, tmp_path: Path) -> None:
    terminal = Terminal(shell, 33, 77, attach=tmp_path / "attach")
    terminal.expect(b"33 77\r\n")
    os.write(terminal.master, b"word\r")
    terminal.expect(b"got word\r\n")
    os.write(terminal.master, b"end\r")
    assert terminal.close() == 7
    assert terminal.after == terminal.before


def test_attaching_again_draws_again(shell: Container, tmp_path: Path) -> None:
    """With the same size as before: the program is told of another in between."""
    for _ in range(2):
        terminal = Terminal(shell, 33, 77, attach=tmp_path / "attach")
        terminal.expect(b"33 77\r\n")
        os.write(terminal.master, b"\x10\x11")
        assert terminal.close() == 0
    end(tmp_path / "attach")


@pytest.mark.parametrize("typed", [[b"\x10\x11"], [b"\x10", b"\x11"], [b"\x10\x10\x11"], [b"x\x10", b"\x10", b"\x11more"]])
def test_detach_keys(shell: Container, tmp_path: Path, typed: list[bytes]) -> None:
    terminal = Terminal(shell, 33, 77, attach=tmp_path / "attach")
    terminal.expect(b"33 77\r\n")
    for part in typed:
        os.write(terminal.master, part)
        time.sleep(0.05)
    terminal.expect(b"read escape sequence\r\n")
    assert terminal.close() == 0
    assert terminal.after == terminal.before
    end(tmp_path / "attach")


def test_keys_that_only_begin_as_the_detach_keys(shell: Container, tmp_path: Path) -> None:
    """They reach the program, all of them and in order."""
    terminal = Terminal(shell, 33, 77, attach=tmp_path / "attach")
    terminal.expect(b"33 77\r\n")
    os.write(terminal.master, b"a\x10b\x10\x10c\r")
    terminal.expect(b"got a\x10b\x10\x10c\r\n")
    os.write(terminal.master, b"end\r")
    assert terminal.close() == 7


def test_without_detach_keys_they_are_the_programs(shell: Container, tmp_path: Path) -> None:
    """The twin."""
    shell.client = []
    terminal = Terminal(shell, 33, 77, attach=tmp_path / "attach")
    terminal.expect(b"33 77\r\n")
    os.write(terminal.master, b"a\x10\x16\x11b\r")  # ctrl-v: as the terminal's own ctrl-q is a start character
    terminal.expect(b"got a\x10\x11b\r\n")
    os.write(terminal.master, b"end\r")
    assert terminal.close() == 7


def test_detaching_from_run(container: Container, tmp_path: Path) -> None:
    """`run -it`: the client that started the container leaves it, another comes, and its exit code is the program's."""
    container.client = [DETACH_KEYS]
    container.listen(tmp_path, "attach")
    terminal = Terminal(container, 20, 30, "sh", "-c", "echo ready; read x; echo got $x; exit 8")
    terminal.expect(b"ready\r\n")
    os.write(terminal.master, b"\x10\x11")
    terminal.expect(b"read escape sequence\r\n")
    assert terminal.close() == 0
    again = Terminal(container, 20, 30, attach=tmp_path / "attach")
    os.write(again.master, b"word\r")
    again.expect(b"got word\r\n")
    assert again.close() == 8


def test_terminal_of_a_client_that_left_is_left_alone(container: Container, tmp_path: Path) -> None:
    """A monitor that takes another's place does not touch what the client's shell has set since."""
    container.client = [DETACH_KEYS]
    container.listen(tmp_path, "attach")
    terminal = Terminal(container, 20, 30, "sh", "-c", "echo ready; read x; exit 8")
    terminal.expect(b"ready\r\n")
    os.write(terminal.master, b"\x10\x11")
    assert terminal.process.wait(30) == 0
    changed = termios.tcgetattr(terminal.slave)
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(terminal.slave, termios.TCSANOW, changed)
    os.kill(until(lambda: living(MONITOR), "the monitor")[0], signal.SIGKILL)
    reap()
    container.stdin = 2
    other = Client(tmp_path / "attach")
    other.write(b"word\r")
    other.until(lambda: other.status == 8)
    other.socket.close()
    assert termios.tcgetattr(terminal.slave) == changed
    terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_terminal_of_a_client_that_a_signal_ends(shell: Container, tmp_path: Path, number: signal.Signals) -> None:
    """Without --sig-proxy, as Docker attaches to a terminal: it is the client's, which leaves its terminal as it was."""
    shell.signal_proxy = 0
    terminal = Terminal(shell, 33, 77, attach=tmp_path / "attach")
    terminal.expect(b"33 77\r\n")
    terminal.process.send_signal(number)
    assert terminal.close() == -number
    assert terminal.after == terminal.before
    end(tmp_path / "attach")


def test_terminal_without_input_is_not_raw(container: Container, tmp_path: Path) -> None:
    """`run -t` without -i: nothing reads the keyboard, so the interrupt key must stay the terminal's."""
    terminal = Terminal(container, 20, 30, "sh", "-c", "trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.01; done", stdin=0)
    terminal.expect(b"ready\r\r\n")  # the outer terminal adds its own
    assert termios.tcgetattr(terminal.slave) == terminal.before
    os.write(terminal.master, b"\x03")
    terminal.expect(b"interrupted")
    assert terminal.close() == 4
