"""Tables, escapes and errors of standard output."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba.cli import output
from estiba.cli.table import aligned, cell_width, show
from estiba.errors import InvalidArgument


class Row:
    def __init__(self, name: str, size: str) -> None:
        self.Name = name
        self.Size = size


ROWS = [Row("alpine", "7.8MB"), Row("a-rather-long-name", "1kB")]
COLUMNS = {"Name": "NAME", "Size": "SIZE"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 中", "plain é 中"),
        ("a\nb\r\t", r"a\nb\r\t"),
        ("\x1b[31mred\x7f", r"\x1b[31mred\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eevil", r"\u202eevil"),
        ("byte \udcff", r"byte \xff"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert output.escape(text) == shown


@given(st.text())
def test_escaped_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert output.escape(text).isprintable()
    output.escape(text).encode()


def test_docker_columns(capfd: pytest.CaptureFixture[str]) -> None:
    show(ROWS, COLUMNS)
    assert capfd.readouterr().out == ("NAME                 SIZE\nalpine               7.8MB\na-rather-long-name   1kB\n")


def test_cells_are_escaped_and_as_wide_as_they_look(capfd: pytest.CaptureFixture[str]) -> None:
    show([Row("中文", "x\x1b[2J")], COLUMNS)
    assert capfd.readouterr().out == "NAME      SIZE\n中文      x\\x1b[2J\n"
    assert cell_width("中文") == 4
    assert cell_width("e\u0301") == 1


def test_table_that_is_drawn_again_covers_the_one_before(capfd: pytest.CaptureFixture[str]) -> None:
    show([Row("a", "b")], COLUMNS, redraw=True)
    assert capfd.readouterr().out == "\x1b[HNAME      SIZE\x1b[K\na         b\x1b[K\n\x1b[J"


def test_one_column_of_a_table_that_is_drawn_again_gives_way(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("a-rather-long-name-" * 3, "7.8MB"), Row("漢" * 30, "1kB"), Row("short", "2kB")]
    for columns, first in (("30", "a-rather-long-name-a-…   7.8MB"), ("200", f"{'a-rather-long-name-' * 3}      7.8MB")):
        monkeypatch.setenv("COLUMNS", columns)
        show(rows, COLUMNS, redraw=True, gives_way="Name")
        lines = [line.removesuffix("\x1b[K") for line in capfd.readouterr().out.splitlines()]
        assert lines[1] == first
        assert all(cell_width(line.replace("\x1b[H", "")) <= int(columns) for line in lines)
    show(rows, COLUMNS, gives_way="Name")
    assert "a-rather-long-name-" * 3 in capfd.readouterr().out, "what is not drawn again may be read by a program"


def test_a_terminal_that_knows_no_escapes_is_not_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    try:
        found = []
        for term in ("dumb", "xterm"):
            monkeypatch.setenv("TERM", term)
            found.append(output.can_draw(follower))
        assert found == [False, True]
    finally:
        os.close(leader)
        os.close(follower)


def test_empty_table_has_its_heading(capfd: pytest.CaptureFixture[str]) -> None:
    show([], COLUMNS)
    assert capfd.readouterr().out == "NAME      SIZE\n"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("json", '{"Name":"alpine","Size":"7.8MB"}\n{"Name":"a-rather-long-name","Size":"1kB"}\n'),
        ("{{.Name}}\\t{{.Size}}", "alpine\t7.8MB\na-rather-long-name\t1kB\n"),
        ("table {{.Size}}\\t{{.Name}}", "SIZE      NAME\n7.8MB     alpine\n1kB       a-rather-long-name\n"),
        ("table", "NAME                 SIZE\nalpine               7.8MB\na-rather-long-name   1kB\n"),
    ],
)
def test_formats(form: str, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    show(ROWS, COLUMNS, form=form)
    assert capfd.readouterr().out == text


def test_a_wrong_field_is_named_even_without_rows() -> None:
    with pytest.raises(InvalidArgument, match=r"no field \.Nam; it has \.Name, \.Size"):
        show([], COLUMNS, form="{{.Nam}}")


@given(st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), max_size=5))
def test_columns_stand_under_each_other(rows: list[list[str]]) -> None:
    lines = aligned(rows)
    starts = {cell_width(line) - cell_width(output.escape(row[-1])) for line, row in zip(lines, rows, strict=True)}
    assert len(starts) <= 1


def with_stdout(descriptor: int, act: Callable[[], None]) -> None:
    """Runs `act` with another standard output."""
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        act()
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_a_full_disk_is_an_error() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(output.OutputError, match="No space left"):
        with_stdout(full, lambda: output.write("x"))
    os.close(full)


def test_a_slow_reader_gets_everything() -> None:
    """A pipe in non-blocking mode is waited for, not given up."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = "é" * 300_000
    received = bytearray()

    def read() -> None:
        while chunk := os.read(reader, 50_000):
            received.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    with_stdout(writer, lambda: output.write(text))
    os.close(writer)
    thread.join()
    os.close(reader)
    assert received.decode() == text


@pytest.mark.parametrize(
    ("columns", "width"), [("0", 80), ("-5", 80), ("", 80), ("x", 80), ("٣٠٠", 80), ("9" * 30, 80), ("100", 100), ("5", 80)]
)
def test_width(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    reader, writer = os.pipe()
    assert output.width(writer) == width
    os.close(reader)
    os.close(writer)
