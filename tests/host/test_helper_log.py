"""The log that the monitor writes: its format, its files, and what a full disk does to it and to the program."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import Terminal
from tests.support.plans import Container, read_until, until
from tests.support.soak import times
from tests.support.watchers import ENTRY, MONITOR, keep_killing, keep_reaping, logged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_log_of_partial_lines(container: Container, tmp_path: Path) -> None:
    container.log(tmp_path / "log")
    container.run("sh", "-c", "printf 'no newline'; sleep 0.1; printf ' yet\\n\\nlast'")
    assert [line.split(b" ", 2)[1:] for line in (tmp_path / "log").read_bytes().splitlines()] == [
        [b"stdout", b"P no newline"], [b"stdout", b"F  yet"], [b"stdout", b"F "], [b"stdout", b"P last"],
    ]  # fmt: skip


def test_log_of_a_line_longer_than_every_buffer(container: Container, tmp_path: Path) -> None:
    container.log(tmp_path / "log")
    done = container.run("sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo; head -c 100000 /dev/urandom")
    assert len(done.stdout) == 400_001
    assert logged(tmp_path / "log", b"stdout") == done.stdout


def test_log_is_appended(container: Container, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F before\n")
    container.log(tmp_path / "log")
    container.run("echo", "after")
    assert logged(tmp_path / "log", b"stdout") == b"before\nafter\n"


def test_record_that_a_power_cut_tore(container: Container, tmp_path: Path) -> None:
    """The next record begins a line of its own."""
    torn = b"2026-01-01T00:00:00.000000000Z stdout F be"
    (tmp_path / "log").write_bytes(torn)
    container.log(tmp_path / "log")
    container.run("echo", "after")
    assert (tmp_path / "log").read_bytes().startswith(torn + b"\n")
    assert logged(tmp_path / "log", b"stdout") == b"be\nafter\n"


def test_log_of_a_terminal(container: Container, tmp_path: Path) -> None:
    container.log(tmp_path / "log")
    terminal = Terminal(container, 20, 30, "sh", "-c", "echo one; echo two >&2")
    assert terminal.close() == 0
    assert logged(tmp_path / "log", b"stdout") == b"one\r\ntwo\r\n"


def test_log_is_its_owners(container: Container, tmp_path: Path) -> None:
    container.log(tmp_path / "log")
    container.run("echo", "secret")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_link_in_the_place_of_the_log(container: Container, tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    container.log(tmp_path / "log")
    done = container.run("echo", "x")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.startswith(b"estiba: cannot start container: log log: ")
    assert not (tmp_path / "elsewhere").exists()


# --- files -------------------------------------------------------------------------------------------------------------------


def test_rotation_keeps_every_byte(container: Container, tmp_path: Path) -> None:
    """No file is longer than it may be, and together they hold all of it, in order."""
    container.log(tmp_path / "log", max_size=4096, max_files=1000)
    done = container.run("sh", "-c", "seq 5000; seq 5000 >&2")
    files = [path for path in tmp_path.iterdir() if path.name.startswith("log")]
    assert len(files) > 50
    assert max(path.stat().st_size for path in files) <= 4096
    assert logged(tmp_path / "log", b"stdout") == done.stdout
    assert logged(tmp_path / "log", b"stderr") == done.stderr


@pytest.mark.parametrize("max_files", [1, 2, 3])
def test_rotation_keeps_so_many_files(container: Container, tmp_path: Path, max_files: int) -> None:
    container.log(tmp_path / "log", max_size=10_000, max_files=max_files)
    done = container.run("seq", "20000")
    assert sorted(path.name for path in tmp_path.glob("log*")) == ["log", "log.1", "log.2"][:max_files]
    kept = logged(tmp_path / "log", b"stdout")
    assert done.stdout.endswith(kept)
    assert len(kept) > 500 * (max_files - 1)  # the last file may be new


def test_rotation_of_long_lines(container: Container, tmp_path: Path) -> None:
    container.log(tmp_path / "log", max_size=1000, max_files=500)
    done = container.run("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
    assert logged(tmp_path / "log", b"stdout") == done.stdout
    assert max(path.stat().st_size for path in tmp_path.glob("log*")) <= 1000


def test_hole_that_a_killed_rotation_left(container: Container, tmp_path: Path) -> None:
    """The files move up to the hole, and those above it stay."""
    for name in ("log", "log.1", "log.3"):
        (tmp_path / name).write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F %s\n" % name.encode())
    container.log(tmp_path / "log", max_size=60, max_files=4)
    container.run("echo", "new")
    assert logged(tmp_path / "log", b"stdout") == b"log.3\nlog.1\nlog\nnew\n"


@pytest.mark.soak
@pytest.mark.parametrize("round_", times(6, 200))
def test_killed_monitor_loses_nothing_of_rotated_files(container: Container, tmp_path: Path, round_: int) -> None:
    container.log(tmp_path / "log", max_size=20_000, max_files=1000)
    process = container.start("sh", "-c", "echo begin; seq 20000; echo end >&2; exit 42")
    assert process.stdout is not None
    begin = read_until(process.stdout, b"begin\n")
    stop = threading.Event()
    killer = threading.Thread(target=keep_killing, args=(process, MONITOR, random.Random(round_), 6, stop))
    reaper = threading.Thread(target=keep_reaping, args=(stop,))
    for thread in (killer, reaper):
        thread.start()
    out, err = process.communicate(timeout=60)
    stop.set()
    for thread in (killer, reaper):
        thread.join()
    assert (process.returncode, err) == (42, b"end\n")
    assert logged(tmp_path / "log", b"stdout") == begin + out == b"begin\n" + b"".join(b"%d\n" % i for i in range(1, 20_001))
    assert logged(tmp_path / "log", b"stderr") == b"end\n"


# --- a full disk (E03) -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, and a file that fills it."""
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", point], check=True)
    yield point
    # Who writes the log may end after the client.
    until(lambda: subprocess.run(["umount", point], capture_output=True, check=False).returncode == 0, "nobody to use the file system")


def fill(folder: Path) -> Path:
    path = folder / "filler"
    with open(path, "ab", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return path
    raise AssertionError("it cannot be filled")


def dropped(path: Path) -> list[int]:
    """The bytes that the log's markers tell of."""
    return [int(line.split(b" ")[3]) for line in path.read_bytes().splitlines() if line.split(b" ")[2] == b"F:dropped"]


def plain(path: Path) -> bytes:
    """The log's text without its markers."""
    found = [ENTRY.fullmatch(line) for line in path.read_bytes().splitlines() if b" F:dropped " not in line]
    return b"".join(entry[3] + (b"\n" if entry[2] == b"F" else b"") for entry in found if entry is not None)


def test_full_disk_does_not_hold_the_end_up(container: Container, small: Path) -> None:
    container.log(small / "log")
    fill(small)
    done = container.run("sh", "-c", "echo hello; exit 5")
    assert (done.returncode, done.stdout) == (5, b"hello\n")


def test_shortage_that_passes_loses_nothing(container: Container, small: Path) -> None:
    """The program waits meanwhile."""
    container.stdin = 1
    container.log(small / "log")
    with container.start("sh", "-c", "echo first; read go; seq 2000; read go; exit 7") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        read_until(process.stdout, b"first\n")
        until(lambda: logged(small / "log", b"stdout") == b"first\n", "the log")
        filler = fill(small)
        os.write(process.stdin.fileno(), b"go\n")
        time.sleep(0.3)
        filler.unlink()
        out, _ = process.communicate(b"go\n", timeout=60)
    assert process.returncode == 7
    assert logged(small / "log", b"stdout") == b"first\n" + out == b"first\n" + b"".join(b"%d\n" % i for i in range(1, 2001))


def test_full_disk_drops_and_says_how_much(container: Container, small: Path, tmp_path: Path) -> None:
    """The program is held up for a while and no longer; what the log lacks is counted to the byte; other readers get all of it."""
    container.stdin = 1
    container.log(small / "log")
    container.status(tmp_path / "status")
    with container.start("sh", "-c", "echo first; read go; seq 50000; read go; echo last; exit 3") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        read_until(process.stdout, b"first\n")
        until(lambda: logged(small / "log", b"stdout") == b"first\n", "the log")
        filler = fill(small)
        os.write(process.stdin.fileno(), b"go\n")
        text = b"".join(b"%d\n" % i for i in range(1, 50_001))
        assert read_until(process.stdout, b"\n50000\n") == text
        filler.unlink()
        time.sleep(0.2)  # the log is tried again ten times in a second
        out, _ = process.communicate(b"go\n", timeout=60)
        assert (process.returncode, out) == (3, b"last\n")
    content = plain(small / "log")
    assert content.startswith(b"first\n")
    assert content.endswith(b"last\n")
    assert len(content) + sum(dropped(small / "log")) == len(b"first\n" + text + b"last\n")
    assert dropped(small / "log")


def test_full_disk_and_a_fast_writer(container: Container, small: Path) -> None:
    """Nobody is stopped by SIGPIPE, and the monitor goes on answering."""
    container.log(small / "log", max_size=0)
    fill(small)
    with container.start("sh", "-c", "yes | head -c 60000000; exit 9", stdout=subprocess.DEVNULL) as process:
        process.communicate(timeout=120)
    assert process.returncode == 9


def test_killed_monitor_on_a_full_disk(container: Container, small: Path) -> None:
    """What was dropped stays known, and what was not finished is taken back."""
    container.log(small / "log")
    process = container.start("sh", "-c", "echo begin; seq 30000; exit 42")
    assert process.stdout is not None
    begin = read_until(process.stdout, b"begin\n")
    stop = threading.Event()
    killer = threading.Thread(target=keep_killing, args=(process, MONITOR, random.Random(3), 3, stop))
    reaper = threading.Thread(target=keep_reaping, args=(stop,))
    for thread in (killer, reaper):
        thread.start()
    out, _ = process.communicate(timeout=60)
    stop.set()
    for thread in (killer, reaper):
        thread.join()
    assert process.returncode == 42
    assert begin + out == b"begin\n" + b"".join(b"%d\n" % i for i in range(1, 30_001))
    assert (begin + out).startswith(plain(small / "log"))
