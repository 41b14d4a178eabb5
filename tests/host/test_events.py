"""Events: that each is told once, in order, by whoever learns of it, while files are rotated and writers are killed or stopped."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.engine import event_log
from estiba.engine.events import events
from tests.support.command import command_under_test
from tests.support.containers import IMAGE
from tests.support.plans import comm, read_until, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.store.layout import Store
    from tests.support.containers import Remains

pytestmark = pytest.mark.host


def file_of(remains: Remains) -> Path:
    status = os.stat(remains.root / "containers")
    return remains.runtime / "stores" / f"{status.st_dev}-{status.st_ino}.events"


def parent(pid: int) -> int:
    """Field 4 of proc_pid_stat(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def has_open(pid: int, path: Path) -> bool:
    """Whether a process has the file open (proc_pid_fd(5)); what it closes meanwhile is not seen."""
    done = subprocess.run(["readlink", *Path(f"/proc/{pid}/fd").iterdir()], capture_output=True, text=True, check=False)
    return str(path) in done.stdout.splitlines()


def told(remains: Remains, container: str) -> list[str]:
    lines = [json.loads(line) for line in file_of(remains).read_text().splitlines()]
    return [line["Action"] for line in lines if line["id"] == container]


def test_the_next_command_tells_what_nobody_lived_to_tell(engine: Callable[..., str], remains: Remains) -> None:
    container = engine("run", "-d", "--name", "orphan", IMAGE, "sleep", "1000")
    program = int(engine("inspect", "-f", "{{.State.Pid}}", "orphan"))
    keeper = parent(program)
    monitor = parent(keeper)
    assert (comm(keeper), comm(monitor)) == ("estiba-keeper", "estiba-monitor")
    os.kill(keeper, signal.SIGSTOP)  # so that neither replaces the other
    os.kill(monitor, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    assert told(remains, container) == ["create", "start"]
    until(lambda: engine("inspect", "-f", "{{.State.Status}}", "orphan") == "exited", "the end of the watchers")
    engine("ps")
    engine("start", "orphan")
    assert told(remains, container) == ["create", "start", "die", "start"]
    assert json.loads(file_of(remains).read_text().splitlines()[-2])["Actor"]["Attributes"]["exitCode"] == "255"


def test_a_stopped_writer_holds_no_container_up(engine: Callable[..., str], environment: dict[str, str], remains: Remains) -> None:
    engine("run", "--rm", IMAGE, "true")
    with file_of(remains).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        container = engine("run", "-d", IMAGE, "true")
        assert engine("wait", container) == "0"
        seat = Seat(environment, remains, 30, 100, "run", "-it", "--name", "box", IMAGE, "sh")
        seat.type(b"echo re''ady\n", b"ready")
        seat.leave()
    until(lambda: {"resize", "detach"} <= set(told(remains, container_of(engine))), "the events of who sat at a terminal")
    until(lambda: told(remains, container) == ["create", "start", "die"], "the three events")


class Seat:
    """A terminal of `rows` and `columns` at which a command of the engine runs."""

    def __init__(self, environment: dict[str, str], remains: Remains, rows: int, columns: int, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command_under_test(), *words],
            stdin=slave, stdout=slave, stderr=slave, env=environment | {"ESTIBA_ROOT": str(remains.root)},
        )  # fmt: skip
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes, expected: bytes) -> None:
        os.write(self.master, keys)
        read_until(self.master, expected)

    def leave(self) -> None:
        """By the detach keys."""
        self.type(b"\x10\x11", b"read escape sequence")
        assert self.process.wait(timeout=30) == 0
        os.close(self.master)


def terminal_events(remains: Remains, container: str) -> list[tuple[str, str, str]]:
    found = []
    for line in file_of(remains).read_text().splitlines():
        event = json.loads(line)
        attributes = event["Actor"]["Attributes"]
        if event["id"] == container:
            found.append((event["Action"], attributes.get("height", ""), attributes.get("width", "")))
    return found


def test_who_sits_at_a_terminal_and_leaves_it(engine: Callable[..., str], environment: dict[str, str], remains: Remains) -> None:
    """In Docker's order, with its attributes."""
    ask = b"stty size; echo a''nd\n"
    first = Seat(environment, remains, 30, 100, "run", "-it", "--name", "box", IMAGE, "sh")
    first.type(ask, b"30 100\r\nand")
    first.resize(40, 120)
    until(lambda: ("resize", "40", "120") in terminal_events(remains, container_of(engine)), "the new size")
    first.leave()
    second = Seat(environment, remains, 31, 101, "attach", "box")
    read_until(second.master, b"# ")  # drawn for the new size: the keys are the client's from now on
    second.type(ask, b"31 101\r\nand")
    second.leave()
    inside = Seat(environment, remains, 32, 102, "exec", "-it", "box", "sh")
    inside.type(ask, b"32 102\r\nand")
    inside.leave()
    container = container_of(engine)
    until(lambda: "exec_detach" in told(remains, container), "the last to leave")
    assert terminal_events(remains, container) == [
        ("create", "", ""), ("attach", "", ""), ("start", "", ""), ("resize", "30", "100"), ("resize", "40", "120"), ("detach", "", ""),
        ("attach", "", ""), ("resize", "32", "102"), ("resize", "31", "101"), ("detach", "", ""),
        ("exec_create: sh", "", ""), ("exec_start: sh", "", ""), ("exec_detach", "", ""),
    ]  # fmt: skip
    lines = [json.loads(line)["Actor"]["Attributes"] for line in file_of(remains).read_text().splitlines() if '"Action":"exec_' in line]
    assert len({attributes["execID"] for attributes in lines}) == 1


def container_of(engine: Callable[..., str]) -> str:
    return engine("ps", "-q", "--no-trunc", "-f", "name=box")


def test_a_client_that_is_killed_has_not_detached(engine: Callable[..., str], environment: dict[str, str], remains: Remains) -> None:
    seat = Seat(environment, remains, 30, 100, "run", "-it", "--rm", "--name", "box", IMAGE, "sh")
    seat.type(b"echo re''ady\n", b"ready")
    container = container_of(engine)
    seat.process.kill()
    seat.process.wait(timeout=30)
    os.close(seat.master)
    engine("rm", "-f", "box")
    assert [word for word in told(remains, container) if word != "resize"] == ["create", "attach", "start", "kill", "die", "destroy"]


def test_events_are_followed_over_a_rotation(engine: Callable[..., str], environment: dict[str, str], remains: Remains) -> None:
    engine("run", "--rm", IMAGE, "true")
    words = [*command_under_test(), "events", "--format", "{{.Action}} {{.Actor.Attributes.name}}", "-f", "event=create", "-f", "event=destroy"]
    with subprocess.Popen(words, env=environment | {"ESTIBA_ROOT": str(remains.root)}, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            until(lambda: has_open(following.pid, file_of(remains)), "it to follow")
            with file_of(remains).open("a") as file:
                file.write("x" * event_log.LONGEST + "\n")
            for number in range(3):
                engine("create", "--name", f"box{number}", IMAGE, "true")
                engine("rm", f"box{number}")
            lines = [following.stdout.readline().strip() for _ in range(6)]
            following.send_signal(signal.SIGINT)
            assert following.wait(timeout=30) == 130
        finally:
            following.kill()
    assert lines == [f"{word} box{number}" for number in range(3) for word in ("create", "destroy")]
    assert file_of(remains).stat().st_size < event_log.LONGEST


WRITER = """
import sys
from estiba.engine import event_log
actor = event_log.Actor(sys.argv[1], sys.argv[2], "name", "image", {"text": "x" * 200})
event_log.LONGEST = 30000
for number in range(200):
    event_log.container(actor, "one", "two", number=str(number))
"""


def test_many_writers_lose_nothing_and_keep_the_order(store: Store) -> None:
    """Four processes, with rotations meanwhile, so that the last two files hold the youngest events."""
    folder = f"{store.containers}/{'a' * 64}"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, folder, store.runtime]) for _ in range(4)]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    found = list(events(store, since="1h", until="0s"))
    times = [event["timeNano"] for event in found]
    assert times == sorted(times)
    assert [event["Action"] for event in found] == ["one", "two"] * (len(found) // 2)
    assert len(found) > 60


def test_what_a_prune_freed_is_told(engine: Callable[..., str], remains: Remains) -> None:
    engine("run", "--name", "over", IMAGE, "sh", "-c", "head -c 100000 /dev/zero > /file")
    engine("container", "prune", "-f")
    engine("image", "prune", "-f")
    *_, first, second = (json.loads(line) for line in file_of(remains).read_text().splitlines())
    assert [(event["Type"], event["Action"], event["Actor"]["ID"]) for event in (first, second)] == [
        ("container", "prune", ""),
        ("image", "prune", ""),
    ]
    assert int(first["Actor"]["Attributes"]["reclaimed"]) > 100_000
    assert int(second["Actor"]["Attributes"]["reclaimed"]) == 0
    assert engine("events", "--since", "1h", "--until", "0s", "--filter", "event=prune", "--format", "{{.Type}}").split() == ["container", "image"]
