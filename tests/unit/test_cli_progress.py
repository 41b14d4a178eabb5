"""Progress: what a terminal shows after the escapes, and plain lines elsewhere."""

from __future__ import annotations

import re
import threading

import pytest

from estiba.cli import progress
from estiba.cli.progress import Bars, Lines, Quiet, progress_for

MOVE = re.compile(r"\x1b\[(\d+)A\r\x1b\[J", re.ASCII)


def screen(written: str) -> list[str]:
    """The lines that stand on a terminal after `written`; understands exactly what Bars writes."""
    lines: list[str] = []
    for part in re.split(r"(\x1b\[\d+A\r\x1b\[J)", written):
        if match := MOVE.fullmatch(part):
            count = int(match[1])
            assert count <= len(lines), "the cursor would leave the picture"
            del lines[len(lines) - count :]
        else:
            lines += part.split("\n")[:-1]
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(Bars, "_height", lambda self: 4)
    monkeypatch.setattr(progress, "_EVERY", 0.0)


@pytest.mark.usefixtures("small")
def test_bars(capfd: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.start("abc", "Downloading", 2_000_000)
        bars.advance("abc", 1_000_000)
        first = capfd.readouterr().err
        assert screen(first) == ["abc: Downloading               ━━━━━━━━━━━━──────────── 1MB/2MB"]
        bars.start("def", "Pulling fs layer")
        bars.done("abc", "Pull complete")
    assert screen(first + capfd.readouterr().err) == ["abc: Pull complete", "def: Pulling fs layer"]


@pytest.mark.usefixtures("small")
def test_more_pieces_than_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """Each piece ends up on the screen exactly once, however small the terminal is."""
    with Bars() as bars:
        for number in range(12):
            bars.start(f"layer{number}", "Waiting")
        bars.note("a word in between")
        for number in range(12):
            bars.done(f"layer{number}", "Pull complete")
    shown = screen(capfd.readouterr().err)
    assert shown[0] == "a word in between"
    assert sorted(shown[1:]) == sorted(f"layer{number}: Pull complete" for number in range(12))


@pytest.mark.usefixtures("small")
def test_lines_never_wrap_and_never_obey(capfd: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.start("x\x1b[2J" * 30, "y" * 100, 5)
        bars.advance("x\x1b[2J" * 30, 9)
    for line in screen(capfd.readouterr().err):
        assert len(line) < 70
        assert "\x1b" not in line


@pytest.mark.usefixtures("small")
def test_from_many_threads(capfd: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:

        def work(name: str) -> None:
            bars.start(name, "Downloading", 1000)
            for _ in range(100):
                bars.advance(name, 10)
            bars.done(name, "Pull complete")

        threads = [threading.Thread(target=work, args=(f"layer{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(screen(capfd.readouterr().err)) == [f"layer{number}: Pull complete" for number in range(8)]


def test_plain_lines(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_for() as lines:
        assert type(lines) is Lines
        lines.start("abc", "Downloading", 3_500_000)
        lines.advance("abc", 10)
        lines.done("abc", "Pull complete")
        lines.note("said")
    assert capfd.readouterr().err == "abc: Downloading 3.5MB\nabc: Pull complete\nsaid\n"


def test_quiet_says_notes_only(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_for(quiet=True) as quiet:
        assert type(quiet) is Quiet
        quiet.start("abc", "Downloading", 5)
        quiet.done("abc", "Pull complete")
        quiet.note("said")
    assert capfd.readouterr().err == "said\n"
