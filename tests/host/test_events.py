"""Events: that each is told once, in order, by whoever learns of it, while files are rotated and writers are killed or stopped."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.engine import event_log
from estiba.engine.events import events
from tests.support.command import command_under_test
from tests.support.containers import IMAGE
from tests.support.plans import comm, until

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


def test_a_stopped_writer_holds_no_container_up(engine: Callable[..., str], remains: Remains) -> None:
    engine("run", "--rm", IMAGE, "true")
    with file_of(remains).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        container = engine("run", "-d", IMAGE, "true")
        assert engine("wait", container) == "0"
    until(lambda: told(remains, container) == ["create", "start", "die"], "the three events")


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
