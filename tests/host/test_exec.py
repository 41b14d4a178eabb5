"""`exec` beyond what docker has too: ordinary users, what is left behind, and the library's face of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import Settings, load
from estiba.engine import containers
from estiba.engine.exec_child import capture, spawn
from estiba.errors import CannotExecute, CommandNotFound, Conflict, LaunchFailed
from estiba.runtime.options import RunOptions
from estiba.store.layout import Store
from tests.support.containers import IMAGE
from tests.support.plans import Running, comm, descendants, until

if TYPE_CHECKING:
    from estiba.engine.containers import Container
    from tests.support.live import Live

CAPABILITIES = ["sh", "-c", "grep CapEff /proc/self/status"]


def test_privileged_has_every_capability_of_the_container(live: Live) -> None:
    live.start()
    assert int(live("exec", "--privileged", "box", *CAPABILITIES).split()[1], 16) >> 21 & 1
    assert not int(live("exec", "box", *CAPABILITIES).split()[1], 16) >> 21 & 1
    assert not int(live("exec", "--privileged", "-u", "1", "box", *CAPABILITIES).split()[1], 16)
    assert "Seccomp:\t2" in live("exec", "--privileged", "box", "cat", "/proc/self/status")  # the filter stays, as docker's does


def test_filter_and_no_new_privileges_are_the_containers(live: Live) -> None:
    live.start("true", "--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--ulimit", "nofile=77:88")
    own, further = (
        live("exec", "box", "sh", "-c", f"grep -E '^(Cap|NoNew|Seccomp:|Groups)' /proc/{pid}/status; grep files /proc/{pid}/limits")
        for pid in ("1", "$$")
    )
    assert own == further
    assert "NoNewPrivs:\t1" in further


def test_an_ordinary_users_container(live_user: Live) -> None:
    live = live_user
    live.start("echo secret > /file")
    spaces = "for kind in mnt pid net ipc uts cgroup user; do readlink /proc/$$/ns/$kind; readlink /proc/1/ns/$kind; done"
    names = live("exec", "box", "sh", "-c", spaces).split()
    assert names[::2] == names[1::2]
    assert live("exec", "-w", "/etc", "box", "sh", "-c", "id -u; pwd; cat /file") == "0\n/etc\nsecret\n"
    assert "/dev/pts/" in live("exec", "-t", "box", "tty")
    assert live("exec", "-i", "box", "cat", stdin=b"in") == "in"
    assert "COMMAND\nsh" in live("top", "box", "-o", "comm")
    live("exec", "box", "sh", "-c", "exit 9", status=9)
    if live.full("run", "--rm", "-u", "7", IMAGE, "true", status=None).returncode == 0:  # there are other ids
        assert live("exec", "-u", "7:8", "box", "sh", "-c", "id -u; id -g") == "7\n8\n"


@pytest.mark.parametrize("name", ["estiba-monitor", "estiba-keeper"])
def test_a_killed_watcher_loses_nothing(live: Live, name: str) -> None:
    live.start()
    words = [*live.command, "exec", "-i", "box", "sh", "-c", "echo up; read x; echo $x; exit 5"]
    with Running(words, env=live.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"up\n"
        (pid,) = [found for found in descendants(process.pid) if comm(found) == name]
        os.kill(pid, signal.SIGKILL)
        process.stdin.write(b"on\n")
        assert process.communicate(timeout=60)[0] == b"on\n"
        assert process.returncode == 5


def test_a_killed_command_leaves_the_program_to_the_container(live: Live) -> None:
    live.start()
    with Running([*live.command, "exec", "box", "sleep", "1000"], env=live.environment) as process:
        until(lambda: "sleep 1000" in live("exec", "box", "ps"), "the program")
        process.terminate()
    assert "sleep 1000" in live("exec", "box", "ps")
    live.stop()  # and everything is gone with the container, as the fixture looks


def test_ids_of_processes_are_never_enough(live: Live) -> None:
    """The number of the container's program belongs to another process by now: nobody enters that one."""
    live.start()
    status = next((live_root(live) / "containers").glob("*/status"))
    text = status.read_text()
    pid, started = text.split()[1:3]
    status.write_text(text.replace(f"running {pid} {started}", f"running {os.getpid()} {started}"))
    assert "is not running" in live.fails("exec", "box", "true")
    status.write_text(text)
    live("exec", "box", "true")


# --- the library -------------------------------------------------------------------------------------------------------------


def live_root(live: Live) -> Path:
    return Path(live.environment["ESTIBA_ROOT"])


def opened(live: Live, name: str = "box") -> tuple[Settings, Container]:
    settings = load(live.environment["ESTIBA_ROOT"], live.environment)
    return settings, containers.find(Store.open(settings), name)


def test_output_is_captured_and_a_slow_program_is_killed(live: Live) -> None:
    live.start()
    box = opened(live)
    before = os.listdir("/proc/self/fd")
    assert capture(*box, RunOptions("", ["sh", "-c", "echo out; echo err >&2; exit 3"])) == (3, b"out\nerr\n")
    assert capture(*box, RunOptions("", ["seq", "100000"]), limit=4) == (0, b"1\n2\n")
    assert capture(*box, RunOptions("", ["cat"])) == (0, b"")
    began = time.monotonic()
    assert capture(*box, RunOptions("", ["sh", "-c", "echo up; exec sleep 1000"]), timeout=1) == (None, b"up\n")
    assert time.monotonic() - began >= 1
    assert "sleep" not in live("exec", "box", "ps")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_failures_have_their_types(live: Live) -> None:
    live.start()
    settings, box = opened(live)
    for words, user, kind in ((["none"], None, CommandNotFound), (["/etc"], None, CannotExecute), (["true"], "nosuch", LaunchFailed)):
        options = RunOptions("", words)
        options.user = user
        running = spawn(settings, box, options)
        with pytest.raises(kind, match="cannot exec in container"):
            running.wait()
        running.close()
    live.stop()
    box.refresh()
    with pytest.raises(Conflict, match="not running"):
        spawn(settings, box, RunOptions("", ["true"]))
