"""`logs`: records, files that are rotated while they are read, the last lines, times."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from estiba.engine.log_files import Files, Record, parse
from estiba.engine.logs import NOTE, Query, _read
from estiba.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = {1: b"stdout", 2: b"stderr"}


class Writer:
    """Writes a log as the monitor does, with a clock of its own: one second for each record."""

    def __init__(self, folder: Path, max_files: int = 1000) -> None:
        self.folder = folder
        self.max_files = max_files
        self.clock = 0
        self.written = {1: b"", 2: b""}

    def write(self, stream: int, text: bytes, tags: bytes = b"F") -> None:
        with open(self.folder / "log", "ab") as file:
            file.write(b"%s %s %s %s\n" % (self.stamp(self.clock), NAMES[stream], tags, text))
        self.clock += 1
        if tags in {b"F", b"P"}:
            self.written[stream] += text + (b"\n" if tags == b"F" else b"")

    @staticmethod
    def stamp(clock: int) -> bytes:
        return b"2026-01-01T%02d:%02d:%02d.000000000Z" % (clock // 3600, clock // 60 % 60, clock % 60)

    def rotate(self) -> None:
        for number in range(self.max_files - 1, 0, -1):
            older = self.folder / ("log" if number == 1 else f"log.{number - 1}")
            if older.exists():
                older.rename(self.folder / f"log.{number}")
        if self.max_files == 1:
            (self.folder / "log").unlink()


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    opened = Files(folder)
    yield opened
    opened.close()
    os.close(folder)


def text_of(files: Files, stream: int = 1) -> bytes:
    return b"".join(r.text + (b"" if r.partial else b"\n") for _, r in files.records() if r.stream == stream)


def shown(folder: Path, **query: object) -> dict[int, bytes]:
    found = {NOTE: b"", 1: b"", 2: b""}
    for stream, text in _read(str(folder), Query(**query), b" " if query.get("details") else b""):  # type: ignore[arg-type]
        found[stream] += text
    return found


# --- records -----------------------------------------------------------------------------------------------------------------


def test_record() -> None:
    record = parse(b"2026-01-31T12:00:00.123456789Z stderr P some  text ")
    assert record is not None
    assert (record.time, record.stream, record.partial, record.text) == (b"2026-01-31T12:00:00.123456789Z", 2, True, b"some  text ")


def test_record_with_further_tags() -> None:
    record = parse(b"2026-01-31T12:00:00.123456789Z stdout F:dropped 7 bytes")
    assert record is not None
    assert (record.partial, record.dropped) == (False, True)


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"2026-01-31T12:00:00.123456789Z", b"2026-01-31T12:00:00.123456789Z stdin F x", b"\0" * 200,
     b"2026-01-31T12:00:00.123456789Z stdout Fx", b"2026-01-31T12:00:00.123456789Z stdout X x", b"2026-01-31T12:00:00.1234567890 stdout F x"],
)  # fmt: skip
def test_what_is_no_record_is_passed_over(line: bytes) -> None:
    assert parse(line) is None


def test_empty_line() -> None:
    record = parse(b"2026-01-31T12:00:00.123456789Z stdout F ")
    assert record is not None
    assert record.text == b""


# --- files -------------------------------------------------------------------------------------------------------------------


def test_what_is_not_written_to_its_end_waits(writer: Writer, files: Files) -> None:
    writer.write(1, b"one")
    line = writer.stamp(5) + b" stdout F two\n"
    for byte in line[:-1]:
        with open(writer.folder / "log", "ab") as file:
            file.write(bytes([byte]))
    assert text_of(files) == b"one\n"
    with open(writer.folder / "log", "ab") as file:
        file.write(line[-1:])
    assert text_of(files) == b"two\n"


@pytest.mark.parametrize("seed", range(20))
def test_rotation_while_it_is_read(writer: Writer, files: Files, seed: int) -> None:
    """Whatever happens between two looks: nothing is lost, nothing comes twice."""
    chance, got = random.Random(seed), b""
    for number in range(400):
        if chance.random() < 0.1 and (writer.folder / "log").exists():
            writer.rotate()
        writer.write(chance.choice((1, 2)), b"line %d" % number, chance.choice((b"F", b"P")))
        if chance.random() < 0.2:
            got += text_of(files)
    assert got + text_of(files) == writer.written[1]
    assert not files.gap


def test_rotation_between_every_step_of_the_reader(writer: Writer, files: Files) -> None:
    """A record is taken, files are rotated, the next is taken: what is open is read to its end."""
    for number in range(50):
        writer.write(1, b"%d" % number)
        if number % 10 == 9:
            writer.rotate()
    got = []
    for _, record in files.records():
        got.append(record.text)
        if len(got) < 100:
            writer.write(1, b"more")
            writer.rotate()
    assert got[:50] == [b"%d" % number for number in range(50)]
    assert got[50:].count(b"more") == len(got) - 50 >= 50


def test_file_that_was_rotated_away_unread(tmp_path: Path, files: Files) -> None:
    """It is said, not hidden."""
    writer = Writer(tmp_path, max_files=2)
    writer.write(1, b"seen")
    assert text_of(files) == b"seen\n"
    for text in (b"lost", b"kept", b"last"):
        writer.rotate()
        writer.write(1, text)
    assert text_of(files) == b"kept\nlast\n"
    assert files.gap


def test_log_of_one_file(tmp_path: Path, files: Files) -> None:
    writer = Writer(tmp_path, max_files=1)
    for number in range(5):
        writer.write(1, b"%d" % number)
        assert text_of(files) == b"%d\n" % number
        writer.rotate()
    assert not files.gap


def test_log_that_is_removed_is_read_to_its_end(writer: Writer, files: Files) -> None:
    writer.write(1, b"one")
    writer.rotate()
    writer.write(1, b"two")
    files.refresh()
    for path in writer.folder.iterdir():
        path.unlink()
    assert text_of(files) == b"one\ntwo\n"


def test_links_and_folders_are_no_files_of_the_log(writer: Writer, files: Files) -> None:
    (writer.folder / "secret").write_bytes(writer.stamp(0) + b" stdout F secret\n")
    (writer.folder / "log.2").symlink_to("secret")
    (writer.folder / "log.3").mkdir()
    (writer.folder / "log.x").write_bytes(writer.stamp(0) + b" stdout F x\n")
    writer.write(1, b"one")
    assert text_of(files) == b"one\n"


# --- the last lines ----------------------------------------------------------------------------------------------------------


def last_lines(records: list[Record], count: int) -> dict[int, bytes]:
    """The answer by the definition: lines in the order of their ends, unfinished ones last."""
    lines: list[tuple[int, int, bytes]] = []
    unfinished = {1: b"", 2: b""}
    last_seen = {1: -1, 2: -1}
    for at, record in enumerate(records):
        unfinished[record.stream] += record.text
        last_seen[record.stream] = at
        if not record.partial:
            lines.append((at, record.stream, unfinished[record.stream] + b"\n"))
            unfinished[record.stream] = b""
    lines += [(last_seen[stream], stream, text) for stream, text in unfinished.items() if text]
    chosen = sorted(lines)[-count:] if count else []
    return {stream: b"".join(text for _, of, text in chosen if of == stream) for stream in (1, 2)}


@pytest.mark.parametrize("seed", range(40))
def test_tail(writer: Writer, seed: int) -> None:
    chance, records = random.Random(seed), []
    for _ in range(chance.randrange(60)):
        stream, tags = chance.choice((1, 2)), chance.choice((b"F", b"F", b"P"))
        text = b"x" * chance.choice((1, 5, 300_000 if seed % 8 == 0 else 50)) + b"%d" % chance.randrange(1000)
        writer.write(stream, text, tags)
        records.append(Record(b"", stream, tags, text))
        if chance.random() < 0.1:
            writer.rotate()
    for count in (0, 1, 2, 3, 7, 20, 100):
        found = shown(writer.folder, tail=str(count))
        assert {1: found[1], 2: found[2]} == last_lines(records, count), count


def test_tail_of_a_huge_log_reads_its_end_only(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terabyte of nothing, and three lines."""
    with open(writer.folder / "log", "wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    for number in range(3):
        writer.write(1, b"%d" % number)
    assert shown(writer.folder, tail="2")[1] == b"1\n2\n"


def test_tail_and_the_stream_that_wrote_once(writer: Writer) -> None:
    """The first part of its line may lie far behind."""
    writer.write(2, b"one ", b"P")
    for number in range(20_000):
        writer.write(1, b"%d" % number)
    writer.write(2, b"line")
    assert shown(writer.folder, tail="1") == {NOTE: b"", 1: b"", 2: b"one line\n"}


# --- what is shown -----------------------------------------------------------------------------------------------------------


def test_partial_lines_are_joined(writer: Writer) -> None:
    writer.write(1, b"a", b"P")
    writer.write(2, b"error")
    writer.write(1, b"b", b"P")
    writer.write(1, b"c")
    writer.write(1, b"no end", b"P")
    assert shown(writer.folder) == {NOTE: b"", 1: b"abc\nno end", 2: b"error\n"}
    stamps = shown(writer.folder, timestamps=True)
    assert stamps[1] == writer.stamp(0) + b" abc\n" + writer.stamp(4) + b" no end"
    assert shown(writer.folder, timestamps=True, details=True)[2] == writer.stamp(1) + b"  error\n"


def test_since_and_until(writer: Writer) -> None:
    for number in range(10):
        writer.write(1, b"%d" % number)
    assert shown(writer.folder, since="2026-01-01T00:00:07Z")[1] == b"7\n8\n9\n"
    assert shown(writer.folder, until="2026-01-01T00:00:02Z")[1] == b"0\n1\n2\n"
    assert shown(writer.folder, since="2026-01-01T00:00:02.000000001Z", until="2026-01-01T01:00:03.9+01:00")[1] == b"3\n"
    assert shown(writer.folder, tail="2", since="2026-01-01T00:00:01Z")[1] == b"8\n9\n"
    assert shown(writer.folder, since="1767225608.5")[1] == b"9\n"
    assert shown(writer.folder, since="1h")[1] == b""


def test_line_that_began_before_is_left_out_as_a_whole(writer: Writer) -> None:
    writer.write(1, b"old ", b"P")
    writer.write(1, b"line")
    writer.write(1, b"new")
    assert shown(writer.folder, since="2026-01-01T00:00:01Z")[1] == b"new\n"


def test_times_are_kept_to_the_nanosecond() -> None:
    assert Query(since="2026-01-31T12:00:00.123456789Z").since == b"2026-01-31T12:00:00.123456789Z"
    assert Query(since="2026-01-31T12:00:00.1+02:00").since == b"2026-01-31T10:00:00.100000000Z"
    assert Query(until="1767225600").until == b"2026-01-01T00:00:00.000000000Z"
    relative = Query(since="1.5h").since.decode()
    age = datetime.now(UTC) - datetime.fromisoformat(relative)
    assert 5390 < age.total_seconds() < 5500


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "5", "1h-", "٣h"])
def test_what_is_no_time(text: str) -> None:
    if text == "5":
        assert Query(since=text).since == b"1970-01-01T00:00:05.000000000Z"
        return
    with pytest.raises(InvalidArgument, match=r"cannot use --since .*: not a time"):
        Query(since=text)


@pytest.mark.parametrize("text", ["", "x", "1.5", "٣", "1e3", " 1"])
def test_what_is_no_number_of_lines(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot use --tail .*: not a number of lines"):
        Query(tail=text)


def test_numbers_of_lines() -> None:
    assert [Query(tail=text).tail for text in ("all", "-1", "0", "12")] == [None, None, 0, 12]


def test_bytes_that_were_dropped_are_told_of(writer: Writer) -> None:
    writer.write(1, b"before")
    writer.write(1, b"7 bytes were dropped here: the log could not be written", b"F:dropped")
    writer.write(1, b"after")
    assert shown(writer.folder) == {
        NOTE: b"standard output: 7 bytes were dropped here: the log could not be written", 1: b"before\nafter\n", 2: b"",
    }  # fmt: skip
    assert shown(writer.folder, tail="2")[1] == b"before\nafter\n"


def test_order_of_streams(writer: Writer) -> None:
    for number in range(6):
        writer.write(1 + number % 2, b"%d" % number)
    assert [text for _, text in _read(str(writer.folder), Query(), b"")] == [b"%d\n" % number for number in range(6)]
