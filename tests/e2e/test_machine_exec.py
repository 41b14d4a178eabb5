"""What enters a machine that runs: `exec`, `cp`, `top`, `stats`, health checks, `pause`; asked and answered by its guest."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import signal
import socket
import struct
import subprocess
import tarfile
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.config.settings import load
from estiba.engine import containers, machine_exec
from estiba.engine.cp import cp
from estiba.engine.exec_child import capture
from estiba.engine.stats import stats
from estiba.engine.top import top
from estiba.errors import CommandNotFound, FailedPrecondition, LaunchFailed
from estiba.runtime.options import RunOptions
from estiba.store.layout import Store
from tests.support.containers import IMAGE
from tests.support.kernels import AND_FULL, EVERY_RUNG, FULL
from tests.support.plans import Running, comm, descendants, read_until, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from tests.support.live import Live

CAPABILITIES = "grep -E '^(Cap|NoNew|Seccomp:|Groups)' /proc/{pid}/status; for kind in mnt pid ipc uts cgroup user; do readlink /proc/{pid}/ns/$kind; done"
HEALTH = "{{.State.Health.Status}}"
PROGRAMS_AT_ONCE = 15


@EVERY_RUNG
def test_exec_is_what_it_is_in_every_container(live: Live, rung: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    live.start("true", *rung, "-v", f"{tmp_path}:/b", "-e", "OWN=1", "-w", "/etc")
    done = live.full("exec", "box", "sh", "-c", "echo out $OWN; echo err >&2; pwd; cat /b/file; exit 7", status=7)
    assert (done.stdout, done.stderr) == (b"out 1\n/etc\nof the host\n", b"err\n")
    words = ("exec", "-u", "nobody:8", "-e", "OWN=2", "-w", "/tmp", "box", "sh", "-c", "id -u; id -g; echo $OWN; pwd")
    assert live(*words).split() == ["65534", "8", "2", "/tmp"]
    assert live("exec", "-i", "box", "wc", "-c", stdin=b"x" * 100_000) == "100000\n"
    assert live("exec", "box", "wc", "-c", stdin=b"not sent") == "0\n"
    assert len(live("exec", "box", "head", "-c", "300000", "/dev/zero")) == 300_000
    own, further = (live("exec", "box", "sh", "-c", CAPABILITIES.format(pid=pid)) for pid in ("1", "$$"))
    assert own == further
    assert "not found in the container's PATH" in os.fsdecode(live.full("exec", "box", "nosuch", status=127).stderr)
    assert "/etc" in os.fsdecode(live.full("exec", "box", "/etc", status=126).stderr)
    live("exec", "-d", "box", "sh", "-c", "echo there > /tmp/mark; exec sleep 1000")
    until(lambda: live("exec", "box", "cat", "/tmp/mark", status=None) == "there\n", "the program that nobody waits for")
    assert "sleep 1000" in live("top", "box")
    assert live("exec", "box", "sh", "-c", "kill -9 $$", status=137) == ""


@FULL
def test_exec_over_a_serial_line(live: Live, rung: tuple[str, ...]) -> None:
    """The channel of a machine that is emulated altogether: more bytes in both directions than it takes at once."""
    live.start("true", *rung, "-e", "OWN=1")
    done = live.full("exec", "-i", "-w", "/etc", "box", "sh", "-c", "echo out $OWN; echo err >&2; pwd; wc -c; exit 7", stdin=b"\0\r\n\x11" * 5000, status=7)
    assert (done.stdout, done.stderr) == (b"out 1\n/etc\n20000\n", b"err\n")
    data = random.Random(1).randbytes(20_000)
    assert live.full("exec", "-i", "box", "cat", stdin=data).stdout == data
    assert live("exec", "box", "wc", "-c", stdin=b"not sent") == "0\n"
    assert "not found in the container's PATH" in os.fsdecode(live.full("exec", "box", "nosuch", status=127).stderr)
    assert live("exec", "box", "sh", "-c", "kill -9 $$", status=137) == ""


@EVERY_RUNG
def test_an_ordinary_users_machine(live_user: Live, rung: tuple[str, ...]) -> None:
    live, kernel = live_user, live_user.folder / "linux"
    kernel.write_bytes(Path(rung[-1]).read_bytes())
    kernel.chmod(0o755)
    live.start("echo secret > /file; chmod 600 /file", *rung[:-1], str(kernel))
    assert live("exec", "-w", "/etc", "box", "sh", "-c", "id -u; pwd; cat /file") == "0\n/etc\nsecret\n"
    assert live("exec", "-i", "box", "cat", stdin=b"in") == "in"
    assert "/dev/pts/" in live("exec", "-t", "box", "tty")
    live("exec", "box", "sh", "-c", "exit 9", status=9)
    assert live("exec", "-u", "7:8", "box", "sh", "-c", "id -u; id -g") == "7\n8\n", "the guest has all ids, whatever its user has"
    live("cp", "box:/file", "copy")
    assert (live.folder / "copy").read_text() == "secret\n"
    assert "COMMAND\nsh" in live("top", "box", "-o", "comm")


def test_several_at_once(live: Live, rung: tuple[str, ...]) -> None:
    """They all run before one of them ends."""
    live.start("mkdir /up", *rung)
    script = f"touch /up/{{}}; until [ $(ls /up | wc -l) -ge {PROGRAMS_AT_ONCE} ]; do sleep 0.1; done; seq 2000; exit {{}}"
    with ThreadPoolExecutor(PROGRAMS_AT_ONCE) as pool:
        done = list(pool.map(lambda number: live.full("exec", "box", "sh", "-c", script.format(number, number), status=None), range(PROGRAMS_AT_ONCE)))
    assert [each.returncode for each in done] == list(range(PROGRAMS_AT_ONCE))
    assert {len(each.stdout.split()) for each in done} == {2000}


def test_more_than_a_machine_takes(live: Live, rung: tuple[str, ...]) -> None:
    live.start("true", *rung)
    for _ in range(PROGRAMS_AT_ONCE):
        live("exec", "-d", "box", "sh", "-c", "exec sleep 1000")
    assert "runs as many programs as it can" in os.fsdecode(live.full("exec", "box", "true", status=126).stderr)
    live.inside("killall sleep")
    until(lambda: live.full("exec", "box", "true", status=None).returncode == 0, "room for another")


@AND_FULL
def test_terminal_signals_and_detaching(live: Live, rung: tuple[str, ...]) -> None:
    live.start("true", *rung)
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    script = "trap 'echo now $(stty size)' WINCH; echo first $(stty size) $TERM; tty; read line; echo got $line; while :; do sleep 0.1; done"
    words = [*live.command, "exec", "-it", "--detach-keys", "ctrl-x,q", "box", "sh", "-c", script]
    with Running(words, env=live.environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        seen = read_until(ours, b"/dev/pts/")
        assert b"first 31 97 xterm\r\n" in seen
        os.write(ours, b"a line\n")
        read_until(ours, b"got a line\r\n")
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 107, 0, 0))
        process.send_signal(signal.SIGWINCH)
        read_until(ours, b"now 41 107\r\n")
        os.write(ours, b"\x18q")
        process.wait(timeout=60)
        assert "stty" in live("top", "box"), "it goes on"
    os.close(ours)
    os.close(theirs)


def relays(live: Live) -> list[int]:
    """The processes of this machine that stand for programs of the guest."""
    state = live("inspect", "-f", "{{.State.Pid}}", "box")
    group = Path(f"/proc/{state.strip()}/cgroup").read_text()
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_relay(path, group)]


def _is_relay(path: Path, group: str) -> bool:
    try:
        return (path / "comm").read_text() == "estiba-exec\n" and (path / "cgroup").read_text() == group
    except (FileNotFoundError, ProcessLookupError):
        return False


@EVERY_RUNG
def test_a_signal_and_the_death_of_what_stands_for_the_program(live: Live, rung: tuple[str, ...]) -> None:
    live.start("true", *rung)
    words = [*live.command, "exec", "box", "sh", "-c", "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.1; done"]
    with Running(words, env=live.environment, stdout=subprocess.PIPE) as process:
        read_until(process.stdout, b"up\n")
        (relay,) = relays(live)
        os.kill(relay, signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == b"term\n"
        assert process.returncode == 9
    with Running(words, env=live.environment, stdout=subprocess.PIPE) as process:
        read_until(process.stdout, b"up\n")
        (relay,) = relays(live)
        os.kill(relay, signal.SIGKILL)
        assert process.wait(timeout=60) == 137
    until(lambda: "trap" not in live("top", "box"), "the end of the program")
    assert live("exec", "box", "echo", "well") == "well\n"


def test_what_stands_for_a_program_is_killed_at_any_moment(live: Live, rung: tuple[str, ...]) -> None:
    """Also before the guest has started the program: it is killed then when it has."""
    live.start("true", *rung)
    dice = random.Random(3)
    for _ in range(8):
        with Running([*live.command, "exec", "box", "sleep", "999"], env=live.environment, stderr=subprocess.PIPE) as process:
            until(lambda: len(relays(live)) == 1, "what stands for the program")
            time.sleep(dice.uniform(0, 0.03))
            os.kill(relays(live)[0], signal.SIGKILL)
            assert process.wait(timeout=60) in (126, 137)
    until(lambda: "sleep 999" not in live("top", "box"), "the end of the programs")
    assert live.inside("echo here") == "here"


def test_nonsense_in_the_mailbox_is_left(live: Live, rung: tuple[str, ...], tmp_path: Path) -> None:
    """Whoever has taken the machine monitor over can write there: the container goes on, and so does `exec`."""
    live.start("true", *rung)
    pid = live("inspect", "-f", "{{.State.Pid}}", "box").strip()
    path = tmp_path / "root"
    path.symlink_to(f"/proc/{pid}/root/run")
    empty, nonsense = tmp_path / "empty", tmp_path / "nonsense"
    empty.touch()
    nonsense.write_bytes(b"no plan at all" * 100)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mail:
        mail.connect(f"{path}/programs")
        for plan in (None, empty, nonsense):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours, theirs, open("/dev/null", "r+b") as null, (plan or empty).open("rb") as file:
                brought = [] if plan is None else [theirs.fileno(), file.fileno(), null.fileno(), null.fileno()]
                socket.send_fds(mail, [struct.pack("<BBHIQ", 42, 0, 0, 0, 0)], brought)
                theirs.close()
                ours.settimeout(60)
                answer = ours.recv(4096) if plan is nonsense else b""
                assert plan is not nonsense or answer[0] == 3, "failed (helper/PROTOCOL.md)"
        mail.send(b"short")
        held = len(os.listdir(f"/proc/{pid}/fd"))
        with open("/dev/null", "r+b") as null:
            for _ in range(20):
                socket.send_fds(mail, [b"short"], [null.fileno()] * 50)
        mail.send(struct.pack("<BBHIQ", 3, 0, 0, 0, 0))
    assert live("exec", "box", "echo", "well") == "well\n"
    assert live.inside("echo here") == "here"
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= held, "what came with nonsense is closed")


def test_a_reader_that_has_enough_ends_its_own_program_alone(live: Live, rung: tuple[str, ...]) -> None:
    """A stream that breaks must not be taken for a signal to the container's program."""
    live.start("true", *rung)
    words = [*live.command, "exec", "box", "yes"]
    with Running(words, env=live.environment, stdout=subprocess.PIPE) as process:
        read_until(process.stdout, b"y\n")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) in (141, -signal.SIGPIPE)
    until(lambda: "yes" not in live("top", "box", "-o", "comm"), "the end of the program")
    assert live.inside("echo here") == "here"


def test_it_ends_with_the_machine(live: Live, rung: tuple[str, ...]) -> None:
    live.start("true", *rung)
    words = [*live.command, "exec", "box", "sh", "-c", "echo up; exec sleep 1000"]
    with Running(words, env=live.environment, stdout=subprocess.PIPE) as process:
        read_until(process.stdout, b"up\n")
        live.stop()
        assert process.wait(timeout=60) == 137
    assert "is not running" in live.fails("exec", "box", "true")
    assert "start it first" in live.fails("cp", "box:/etc/hosts", "-")
    assert "is not running" in live.fails("top", "box")


def test_other_images_cannot_be_laid_over_it(live: Live, rung: tuple[str, ...]) -> None:
    live.start("true", *rung)
    assert "does not see their layers" in live.fails("exec", "--with", IMAGE, "box", "true")


def opened(live: Live) -> tuple[Settings, Container]:
    settings = load(live.environment["ESTIBA_ROOT"], live.environment)
    return settings, containers.find(Store.open(settings), "box")


def test_library(live: Live, rung: tuple[str, ...]) -> None:
    live.start("true", *rung)
    box = opened(live)
    assert capture(*box, RunOptions("", ["sh", "-c", "echo out; echo err >&2; exit 3"])) == (3, b"out\nerr\n")
    assert capture(*box, RunOptions("", ["sh", "-c", "echo up; exec sleep 1000"]), timeout=1) == (None, b"up\n")
    assert "sleep" not in live("top", "box")
    with pytest.raises(CommandNotFound):
        capture(*box, RunOptions("", ["nosuch"]))


@pytest.fixture
def stopped(live: Live, rung: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """A machine whose kernel does not answer, as one that hangs."""
    monkeypatch.setattr(machine_exec, "PATIENCE_SECONDS", 1)
    live.start("true", *rung)
    _, container = opened(live)
    kernel = next(pid for pid in descendants(container.pid) if comm(pid) == "linux")
    os.kill(kernel, signal.SIGSTOP)
    yield container
    os.kill(kernel, signal.SIGCONT)
    assert live("exec", "box", "echo", "well") == "well\n"


def test_a_guest_that_does_not_answer(live: Live, stopped: Container) -> None:
    settings, _ = opened(live)
    store = Store.open(settings)
    for ask in (
        lambda: capture(settings, stopped, RunOptions("", ["true"])),
        lambda: top(store, settings, "box"),
        lambda: cp(store, settings, "box:/etc/hosts", str(live.folder / "hosts")),
    ):
        with pytest.raises((LaunchFailed, FailedPrecondition), match="does not answer"):
            ask()
    (rows,) = stats(store, settings, ["box"], once=True)
    assert [row.PIDs for row in rows] == ["--"]


# --- files -------------------------------------------------------------------------------------------------------------------


@EVERY_RUNG
def test_cp_in_both_directions(live: Live, rung: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bind").mkdir()
    live.start("mkdir /out; echo one > /out/file; ln -s file /out/link; chown 7:8 /out/file; chmod 4751 /out/file", *rung, "-v", f"{tmp_path}/bind:/b")
    members = tarfile.open(fileobj=BytesIO(live.full("cp", "box:/out", "-").stdout))
    assert [(each.name, each.uid, each.gid, oct(each.mode)) for each in members][1:] == [
        ("out/file", 7, 8, "0o4751"), ("out/link", 0, 0, "0o777"),
    ]  # fmt: skip
    live("cp", "box:/out", f"{tmp_path}/copy")
    assert (tmp_path / "copy/file").read_text() == "one\n"
    assert os.readlink(tmp_path / "copy/link") == "file"
    data = os.urandom(300_000)
    (tmp_path / "data").write_bytes(data)
    live("cp", f"{tmp_path}/data", "box:/tmp/data")
    live("cp", f"{tmp_path}/data", "box:/b/data")
    assert (tmp_path / "bind/data").read_bytes() == data
    live("cp", "box:/tmp/data", f"{tmp_path}/again")
    assert (tmp_path / "again").read_bytes() == data
    assert "no such file" in live.fails("cp", "box:/nosuch", f"{tmp_path}/x")
    assert live.inside("ls /tmp") == "data"


def test_blocks_of_the_channel(live: Live, rung: tuple[str, ...]) -> None:
    """More input than there are blocks, in several sessions at once, one of which does not read; and a machine of as many layers as fit."""
    live.start("true", *rung)
    data = [random.Random(number).randbytes(1_500_000) for number in range(3)]
    stuck = subprocess.Popen([*live.command, "exec", "-i", "box", "sleep", "1000"], env=live.environment, stdin=subprocess.PIPE)
    assert stuck.stdin is not None
    os.set_blocking(stuck.stdin.fileno(), False)
    assert os.write(stuck.stdin.fileno(), bytes(65536)) > 0
    with ThreadPoolExecutor(len(data)) as pool:
        said = list(pool.map(lambda sent: live.full("exec", "-i", "box", "cat", stdin=sent).stdout, data))
    assert said == data
    stuck.kill()
    stuck.wait()
    stuck.stdin.close()


def test_export_is_of_all_files_and_changes_are_not_known(live: Live, rung: tuple[str, ...], tmp_path: Path) -> None:
    live.start("echo one > /file", *rung)
    with tarfile.open(fileobj=BytesIO(live.full("export", "box").stdout)) as archive:
        content = archive.extractfile("file")
        assert content is not None
        assert content.read() == b"one\n"
        assert "etc/alpine-release" in archive.getnames()
    for words in (("diff", "box"), ("commit", "box", "image")):
        text = live.fails(*words)
        assert "on the disk of a machine" in text
        assert "estiba export box" in text
    live.stop()
    assert "start it first" in live.fails("export", "-o", f"{tmp_path}/x", "box")


def test_cp_follows_no_link_out_of_the_container(live: Live, rung: tuple[str, ...], tmp_path: Path) -> None:
    """Out of it there is the guest's own tree: its disks, and what the container must not see."""
    live.start("ln -s / /up; ln -s /proc/1/root /process; mkdir /d; ln -s ../../../layers /d/layers", *rung)
    for path in ("/up/layers", "/process/etc", "/d/layers/0", "/../../layers"):
        assert "no such file" in live.fails("cp", f"box:{path}", f"{tmp_path}/x"), path
    live("cp", "box:/up/etc/alpine-release", f"{tmp_path}/x")
    (tmp_path / "new").write_text("new\n")
    live("cp", f"{tmp_path}/new", "box:/up/tmp/new")
    assert live.inside("cat /tmp/new") == "new"


# --- figures -----------------------------------------------------------------------------------------------------------------


@EVERY_RUNG
def test_top_and_stats_are_the_guests(live: Live, rung: tuple[str, ...]) -> None:
    live.start("sleep 1000 & sleep 1000 &", *rung, "-m", "100m", "-u", "nobody")
    rows = [line.split() for line in live("top", "box", "-o", "pid,ppid,user,rss,comm").splitlines()]
    assert rows[0] == ["PID", "PPID", "USER", "RSS", "COMMAND"]
    assert [row[4] for row in rows[1:]] == ["sh", "sleep", "sleep"]
    assert {row[2] for row in rows[1:]} == {"nobody"}
    assert {row[1] for row in rows[2:]} == {rows[1][0]}
    form = "{{.PIDs}} {{.MemUsage}} {{.CPUPerc}} {{.BlockIO}}"
    pids, used, _, limit, cpu, *disks = live("stats", "--no-stream", "--format", form, "box").split()
    assert pids == "3"
    assert 2 < float(used.removesuffix("MiB")) < 100
    assert 70 < float(limit.removesuffix("MiB")) < 100, "what the kernel has left of the machine's"
    assert re.fullmatch(r"[0-9.]+%", cpu)
    assert re.fullmatch(r"[0-9.]+MB", disks[0]), "of its layers' disks"


@EVERY_RUNG
def test_pause(live: Live, rung: tuple[str, ...], tmp_path: Path) -> None:
    live.start("while :; do echo x >> /count; sleep 0.1; done &", *rung)
    live("pause", "box")
    assert live("inspect", "-f", "{{.State.Status}}", "box") == "paused\n"
    for words in (("exec", "box", "true"), ("top", "box"), ("cp", "box:/count", f"{tmp_path}/x")):
        assert "it is paused" in live.fails(*words)
    assert live("stats", "--no-stream", "--format", "{{.PIDs}}", "box") == "--\n"
    live("unpause", "box")
    before = live("exec", "box", "cat", "/count")
    until(lambda: len(live("exec", "box", "cat", "/count")) > len(before), "the program that goes on")


@EVERY_RUNG
def test_health_of_a_machine(live: Live, rung: tuple[str, ...]) -> None:
    often = ("--health-interval", "200ms", "--health-retries", "1", "--health-timeout", "5s")
    live("run", "-d", "--name", "box", *rung, *often, "--health-cmd", "test -e /well", IMAGE, "sleep", "1000")
    until(lambda: live("inspect", "-f", HEALTH, "box") == "unhealthy\n", "a failure")
    live("exec", "box", "touch", "/well")
    until(lambda: live("inspect", "-f", HEALTH, "box") == "healthy\n", "health")
    live("rm", "-f", "box")


def test_a_check_that_takes_too_long_is_killed_in_the_guest(live: Live, rung: tuple[str, ...]) -> None:
    often = ("--health-interval", "200ms", "--health-retries", "1", "--health-timeout", "1s")
    live("run", "-d", "--name", "box", *rung, *often, "--health-cmd", "exec sleep 999", IMAGE, "sleep", "1000")
    until(lambda: live("inspect", "-f", HEALTH, "box") == "unhealthy\n", "a failure")
    until(lambda: len(relays(live)) == 0, "the end of the check")
    until(lambda: "sleep 999" not in live("top", "box"), "the end of the check in the guest")
    live("rm", "-f", "box")
