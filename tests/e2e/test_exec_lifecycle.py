"""`exec` through the command line; as in test_lifecycle.py every case passes on docker too."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_lifecycle import Engine, dockerd, engine  # noqa: F401 - fixtures
from tests.support.containers import IMAGE
from tests.support.plans import Running, read_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.e2e


@pytest.fixture
def box(engine: Engine) -> Engine:  # noqa: F811
    """An engine with a container `box` that runs."""
    engine("run", "-d", "--name", "box", "-e", "OWN=1", "-w", "/srv", IMAGE, "sh", "-c", "echo $$ >/pid; exec sleep 1000")
    deadline = time.monotonic() + 20
    while engine("exec", "box", "test", "-e", "/pid", status=None).returncode:
        assert time.monotonic() < deadline
    return engine


def test_codes_are_the_programs_or_tell_why_not(box: Engine) -> None:
    assert box("exec", "box", "true").stdout == ""
    box("exec", "box", "sh", "-c", "exit 7", status=7)
    box("exec", "box", "sh", "-c", "kill -9 $$", status=137)
    for words, named, statuses in (
        (["box", "nothing-here"], "nothing-here", (127, 126)),  # 126 of older versions of docker
        (["box", "/etc/passwd"], "/etc/passwd", (126,)),
        (["-u", "nosuch", "box", "true"], "nosuch", (126,)),
    ):
        done = box("exec", *words, status=None)
        assert done.returncode in statuses
        assert named in done.stdout + done.stderr  # which docker says on standard output
    assert box("exec", "-w", "/not/there", "box", "true", status=None).returncode in (126, 127)
    assert box("exec", "box", "test", "-e", "/not", status=1).stderr == ""


def test_streams_are_kept_apart_and_input_is_asked_for(box: Engine) -> None:
    done = box("exec", "box", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert box("exec", "-i", "box", "cat", stdin="to the program\n").stdout == "to the program\n"
    assert box("exec", "box", "cat", stdin="not asked for\n").stdout == ""
    many = "".join(f"{number}\n" for number in range(50_000))
    assert box("exec", "-i", "box", "cat", stdin=many).stdout == many


def test_environment_folder_and_user_are_the_containers_or_asked_for(box: Engine, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FILE=2\nBOTH=file\n")
    script = "echo $OWN $FILE $BOTH $TERM $(pwd) $(id -u):$(id -g) $HOME"
    assert box("exec", "box", "sh", "-c", script).stdout == "1 /srv 0:0 /root\n"
    words = ["--env-file", str(tmp_path / "env"), "-e", "BOTH=flag", "-e", "OWN=3", "-w", "/tmp", "-u", "guest"]
    assert box("exec", *words, "box", "sh", "-c", script).stdout == "3 2 flag /tmp 405:100 /dev/null\n"
    assert box("exec", "-u", "1234:5678", "box", "sh", "-c", "id -u; id -g").stdout == "1234\n5678\n"


def test_it_is_in_the_container(box: Engine) -> None:
    """Its processes, files, host name and limits are the container's."""
    assert box("exec", "box", "hostname").stdout.strip() == box.state("box", "{{.Config.Hostname}}")
    spaces = "for kind in mnt pid net ipc uts cgroup; do readlink /proc/$$/ns/$kind; readlink /proc/1/ns/$kind; done"
    names = box("exec", "box", "sh", "-c", spaces).stdout.split()
    assert names[::2] == names[1::2]
    box("exec", "box", "sh", "-c", "echo left > /left")
    assert box("exec", "box", "cat", "/left").stdout == "left\n"
    status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/$1/status"
    assert box("exec", "box", "sh", "-c", status, "sh", "1").stdout == box("exec", "box", "sh", "-c", status, "sh", "self").stdout
    groups = "cat /proc/1/cgroup /proc/self/cgroup | sort | uniq -u"
    assert box("exec", "box", "sh", "-c", groups).stdout == ""


def test_top_shows_the_processes_of_the_container(box: Engine) -> None:
    box("exec", "-d", "box", "sleep", "77")
    heading, *rows = [line.split(maxsplit=7) for line in box("top", "box").stdout.splitlines()]
    assert heading == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(row[7] for row in rows) == ["sleep 1000", "sleep 77"]
    assert box.state("box", "{{.State.Pid}}") in [row[1] for row in rows]
    lines = box("top", "box", "-eo", "pid,args").stdout.splitlines()
    assert lines[0].split() == ["PID", "COMMAND"]
    assert {line.split(maxsplit=1)[1] for line in lines[1:]} == {"sleep 1000", "sleep 77"}
    assert box("top", "box", "aux").stdout.startswith("USER")
    assert box("top", "box", "--nosuch", status=1 if box.words[0] == "docker" else 125).stderr
    box("stop", "-t", "0", "box")
    assert "not running" in box("top", "box", status=1).stderr


def test_detached_goes_on_alone(box: Engine) -> None:
    assert box("exec", "-d", "box", "sh", "-c", "echo unheard; sleep 0.2; echo done > /done").stdout == ""
    box("exec", "-d", "box", "nothing-here", status=None)
    deadline = time.monotonic() + 20
    while box("exec", "box", "cat", "/done", status=None).stdout != "done\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_ends_with_the_container(box: Engine) -> None:
    words = [*box.words, "exec", "box", "sh", "-c", "echo up; exec sleep 1000"]
    with Running(words, env=box.environment, stdout=subprocess.PIPE) as process:
        read_until(process.stdout, b"up\n")
        box("stop", "-t", "0", "box")
        assert process.wait(timeout=60) == 137
    assert "is not running" in box("exec", "box", "true", status=1).stderr
    box("start", "box")
    box("exec", "box", "test", "-e", "/pid")
    assert "no such container" in box("exec", "another", "true", status=1).stderr.lower()


def test_one_that_is_only_created(engine: Engine) -> None:  # noqa: F811
    engine("create", "--name", "idle", IMAGE, "true")
    assert "is not running" in engine("exec", "idle", "true", status=1).stderr


def test_a_terminal_has_a_size_and_can_be_left(box: Engine) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    subprocess.run(["stty", "rows", "31", "cols", "97"], stdin=theirs, check=True)
    # docker sets the size a moment later
    script = 'until [ "$(stty size)" = "31 97" ]; do sleep 0.1; done 2>/dev/null; echo $TERM; tty; read line; echo got $line; read x'
    words = [*box.words, "exec", "-it", "--detach-keys", "ctrl-x,q", "box", "sh", "-c", script]
    with Running(words, env=box.environment, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        seen = read_until(ours, b"/dev/pts/")
        assert b"xterm\r\n" in seen
        os.write(ours, b"a line\n")
        read_until(ours, b"got a line\r\n")
        os.write(ours, b"\x18q")
        process.communicate(timeout=60)
    os.close(ours)
    assert box("exec", "box", "sh", "-c", "ps -o args | grep -c '[u]ntil'").stdout == "1\n"  # it goes on
