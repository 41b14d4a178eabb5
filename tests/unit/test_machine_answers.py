"""What a guest answers, which may send what it likes."""

from __future__ import annotations

import io
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from estiba.engine import machine_exec
from estiba.engine import top as engine_top
from estiba.engine.files.jail import FileJail, JailError
from estiba.engine.words import binary_size
from estiba.errors import DataLoss, ResourceExhausted
from estiba.linux.processes import COLUMNS
from estiba.machine.usage import GUEST_FILES, guest_usage

if TYPE_CHECKING:
    from collections.abc import Callable


def part(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def test_names_and_contents() -> None:
    answers = part(b"/proc/1/stat") + part(b"1 (init)") + part(b"/proc/2\xff") + part(b"")
    assert dict(machine_exec._parts(io.BytesIO(answers))) == {"/proc/1/stat": b"1 (init)", "/proc/2\ufffd": b""}


def test_a_cut_answer() -> None:
    answers = part(b"/proc/1/stat") + part(b"1 (init)")
    for size in range(len(answers)):
        found = dict(machine_exec._parts(io.BytesIO(answers[:size])))
        assert all("/proc/1/stat".startswith(name) and b"1 (init)".startswith(content) for name, content in found.items())


class Endless(io.RawIOBase):
    """A guest that does not end its answer."""

    taken = 0

    def read(self, size: int = -1, /) -> bytes:
        self.taken += size
        return b"\xff" * size


def test_an_answer_without_end_is_left() -> None:
    endless = Endless()
    for _ in machine_exec._parts(endless):  # type: ignore[arg-type]  # it reads, which is all that is asked of it
        pass
    assert machine_exec._MOST <= endless.taken < 2 * machine_exec._MOST


# --- about files --------------------------------------------------------------------------------------------------------------


class Fed(FileJail):
    """A view that hears `answers` instead of a helper's, whatever it asks."""

    def __init__(self, answers: bytes) -> None:
        self.what = "copy it"
        self.max_entries = 5
        self.answers = io.BytesIO(answers)
        self.largest = 0

    def ask(self, *questions: object) -> None:
        pass

    def receive(self, size: int) -> bytes:
        self.largest = max(self.largest, size)
        return self.answers.read(size)


FILE, FOLDER = 0o100644, 0o040755
MANY = (1 << 32) - 1


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def status(mode: int = FILE, size: int = 0, nanoseconds: int = 0, target: bytes = b"", length: int | None = None) -> bytes:
    head = struct.pack("<IIIIQQQqIII", mode, 0, 0, 1, 1, 1, size, 0, nanoseconds, 0, 0)
    return number(0) + head + number(len(target) if length is None else length) + target


def attribute(name: bytes = b"user.a", size: int = 1) -> bytes:
    return number(len(name)) + name + number(size) + b"v" * (size if size < MANY else 0)


def parts(*pairs: tuple[int, int]) -> bytes:
    return number(0) + number(len(pairs)) + b"".join(struct.pack("<QQ", *pair) for pair in pairs)


def entry(name: bytes, length: int | None = None) -> bytes:
    return status(FOLDER) + number(0) + number(len(name) if length is None else length) + name + status()[4:] + number(0) * 2


def test_answers_that_make_sense() -> None:
    found = Fed(status(FILE, 9, 999_999_999) + attribute() + parts((0, 4), (5, 4))).read(b"x")
    assert (found.status.size, found.xattrs, found.parts) == (9, {b"user.a": b"v"}, [(0, 4), (5, 4)])
    assert [name for name, _ in Fed(entry(b"..." + b"x" * 252)).list(b"").entries] == [b"..." + b"x" * 252]
    assert Fed(status(0o120777, target=b"/x")).stat(b"").target == b"/x"
    with pytest.raises(JailError, match="Permission denied"):
        Fed(number(13)).stat(b"x")


@pytest.mark.parametrize(
    ("answers", "ask"),
    [
        (number(4096), lambda jail: jail.stat(b"")),
        (number(MANY), lambda jail: jail.base(b"")),
        (status(length=4097), lambda jail: jail.stat(b"")),
        (status(target=b"a\0b"), lambda jail: jail.stat(b"")),
        (status(nanoseconds=10**9), lambda jail: jail.stat(b"")),
        (status(size=1 << 63), lambda jail: jail.stat(b"")),
        (status(FOLDER) + number(0), lambda jail: jail.read(b"")),
        (status() + number(0), lambda jail: jail.list(b"")),
        *((entry(name), lambda jail: jail.list(b"")) for name in (b".", b"..", b"a/b", b"/", b"a\0b")),
        (entry(b"", MANY), lambda jail: jail.list(b"")),
        (entry(b"x" * 256), lambda jail: jail.list(b"")),
        (status(FOLDER) + number(0) * 2 + number(MANY), lambda jail: jail.list(b"")),
        (status() + attribute(b"x" * 256), lambda jail: jail.read(b"")),
        (status() + attribute(b"a\0b"), lambda jail: jail.read(b"")),
        (status() + attribute(size=MANY), lambda jail: jail.read(b"")),
        (status() + attribute(b"x" * 255, 0) * 300, lambda jail: jail.read(b"")),
        (status(size=9) + number(0) + number(1025), lambda jail: jail.read(b"")),
        (status(size=9) + number(0) + number(MANY), lambda jail: jail.read(b"")),
        (status(size=9) + parts((0, 10)), lambda jail: jail.read(b"")),
        (status(size=9) + parts((8, (1 << 64) - 1)), lambda jail: jail.read(b"")),
        (status(size=9) + parts((4, 2), (5, 2)), lambda jail: jail.read(b"")),
    ],
)
def test_answers_that_make_no_sense(answers: bytes, ask: Callable[[FileJail], object]) -> None:
    jail = Fed(answers)
    with pytest.raises(DataLoss, match="its kernel answers what makes no sense"):
        ask(jail)
    assert jail.largest <= 1 << 16, "no more is waited for than there can be"


def test_attributes_and_folders_without_end() -> None:
    with pytest.raises(ResourceExhausted, match="more than 1 MiB of extended attributes"):
        Fed(status() + b"".join(attribute(b"user.%d" % each, 60000) for each in range(30))).read(b"")
    with pytest.raises(ResourceExhausted, match="more than 5 files"):
        Fed(status(FOLDER) + number(0) + (number(1) + b"x" + status()[4:]) * 9).list(b"")


# --- about processes and figures ----------------------------------------------------------------------------------------------

STAT = b"1 (a) b) S 0 1 1 0 -1 4194560 0 0 0 0 7 8 0 0 20 0 1 0 100 4096 25 " + b"0 " * 30
PROCESS = {"/proc/uptime": b"9.0 1.0", "/proc/meminfo": b"MemTotal: 1024 kB", "/proc/1/cgroup": b"0::/container", "/proc/1/stat": STAT,
           "/proc/1/cmdline": b"sh\0-c\0", "/proc/1/status": b"Uid:\t0\t0\nGid:\t0\t0\n"}  # fmt: skip


def shown(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> list[list[str]]:
    monkeypatch.setattr(machine_exec, "read_files", lambda *_: files)
    monkeypatch.setattr(engine_top, "check_enters", lambda *_: None)
    container = SimpleNamespace(name="box")
    return engine_top._guests(None, container, COLUMNS)  # type: ignore[arg-type]  # its name is all that is asked


def test_processes_of_a_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = shown(monkeypatch, PROCESS)
    assert [row[list(COLUMNS).index(column)] for column in ("args", "comm")] == ["sh -c", "a) b"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/proc/uptime", b"soon"), ("/proc/meminfo", b""), ("/proc/meminfo", b"MemTotal: 0"), ("/proc/1/stat", b"1 (x"),
        ("/proc/1/stat", b"1 (x) \xff"), ("/proc/1/stat", STAT.replace(b" 100 ", b" -" + b"9" * 300 + b" ")),
        ("/proc/1/stat", STAT.replace(b" 7 ", b" " + b"9" * 5000 + b" ")), ("/proc/1/status", b"Uid: x"), ("/proc/1/status", b"nothing"),
    ],
)  # fmt: skip
def test_processes_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, path: str, content: bytes) -> None:
    with pytest.raises(DataLoss, match="cannot show the processes of container box: its kernel answers what makes no sense"):
        shown(monkeypatch, {**PROCESS, path: content})


def test_files_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {"/cgroup": b"0::/container", "x/cgroup": b"0::/container", "/proc/1a/cgroup": b"0::/container", "/proc/" + "9" * 5000 + "/cgroup": b""}
    assert len(shown(monkeypatch, {**PROCESS, **others})) == 1


def test_figures_that_make_no_sense() -> None:
    cpu, pids, memory, disks = GUEST_FILES
    huge = b"9" * 5000
    found = guest_usage({cpu: b"usage_usec " + huge, pids: huge, memory: b"MemTotal: 1\nMemAvailable: 2", disks: b"8 0 vda " + (huge + b" ") * 9})
    assert (found.cpu, found.pids, found.memory, found.read, found.written) == (None, None, 0, 0, 0)
    most = b"9" * 20
    found = guest_usage({cpu: b"usage_usec " + most, memory: b"MemTotal: " + most + b"\nMemAvailable: 0", disks: b"8 0 vda " + (most + b" ") * 9})
    assert binary_size(found.memory or 0)
