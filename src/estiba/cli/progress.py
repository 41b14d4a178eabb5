"""Progress on standard error: bars on a terminal, plain lines elsewhere, nothing when asked for quiet.

Both kinds are the engine's protocol (`estiba.engine.progress`): `start`, `advance`, `done`, `note`, from any thread.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import Self

from estiba.cli import output
from estiba.cli.table import cell_width
from estiba.engine.units import human_size

_EVERY = 0.1  # seconds between two pictures
_BAR = 24


class Quiet:
    """No progress; notes are still said, since they are results."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def start(self, key: str, label: str, total: int | None = None) -> None:
        """A piece of work begins, or goes on under another label. `total` in bytes, None when it is not known."""

    def advance(self, key: str, n: int) -> None:
        """`n` further bytes are done."""

    def done(self, key: str, label: str) -> None:
        """The piece is finished."""

    def note(self, text: str) -> None:
        """A line for the user."""
        output.talk(text)


class Lines(Quiet):
    """One line when a piece of work begins and one when it ends."""

    def start(self, key: str, label: str, total: int | None = None) -> None:
        output.talk(f"{key}: {label} {human_size(total)}" if total else f"{key}: {label}")

    def done(self, key: str, label: str) -> None:
        output.talk(f"{key}: {label}")


class _Piece:
    """What one line of the picture shows."""

    __slots__ = ("began", "count", "finished", "label", "total")

    def __init__(self) -> None:
        self.label = ""
        self.count = 0
        self.total: int | None = None
        self.began = 0.0
        self.finished = False


class Bars(Quiet):
    """A line with a bar for each piece of work, drawn over the last picture.

    Finished lines scroll up and out of the picture when there are more lines than the terminal has.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: dict[str, _Piece] = {}
        self._drawn = 0  # lines of the last picture
        self._last = 0.0
        self._colour = output.has_colour(output.STDERR)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._draw(final=True)

    def start(self, key: str, label: str, total: int | None = None) -> None:
        with self._lock:
            piece = self._pieces.setdefault(key, _Piece())
            piece.label, piece.total, piece.count, piece.finished = label, total, 0, False
            piece.began = time.monotonic()
            self._draw_sometimes()

    def advance(self, key: str, n: int) -> None:
        with self._lock:
            piece = self._pieces.get(key)
            if piece:
                piece.count += n
                self._draw_sometimes()

    def done(self, key: str, label: str) -> None:
        with self._lock:
            piece = self._pieces.setdefault(key, _Piece())
            piece.label, piece.finished = label, True
            self._draw()

    def note(self, text: str) -> None:
        with self._lock:
            self._write(self._erase() + output.escape(text) + "\n")
            self._drawn = 0
            self._draw()

    def _draw_sometimes(self) -> None:
        if time.monotonic() - self._last >= _EVERY:
            self._draw()

    def _erase(self) -> str:
        """To the first line of the last picture, and nothing below it (ECMA-48: CUU, ED)."""
        return f"\x1b[{self._drawn}A\r\x1b[J" if self._drawn else ""

    def _draw(self, *, final: bool = False) -> None:
        columns = output.width(output.STDERR) - 1
        rows = 1000 if final else max(1, self._height() - 1)
        erase = self._erase()
        scrolled = self._scroll_out(rows)
        lines = [self._line(key, piece, columns) for key, piece in self._pieces.items()]
        if len(lines) > rows:
            lines = [*lines[: rows - 1], f"... and {len(lines) - rows + 1} more"]
        self._write(erase + "".join(f"{line}\n" for line in [*scrolled, *lines]))
        self._drawn = len(lines)
        self._last = time.monotonic()

    def _scroll_out(self, rows: int) -> list[str]:
        """Lines of finished pieces that make room; they are not drawn again."""
        columns = output.width(output.STDERR) - 1
        gone = [key for key, piece in self._pieces.items() if piece.finished][: max(0, len(self._pieces) - rows)]
        return [self._line(key, self._pieces.pop(key), columns) for key in gone]

    def _line(self, key: str, piece: _Piece, columns: int) -> str:
        start = f"{output.escape(key)}: {output.escape(piece.label)}"
        if piece.finished:
            return self._cut(start, columns)
        amount = human_size(piece.count)
        if piece.total:
            part = min(1.0, piece.count / piece.total)
            bar = "━" * int(part * _BAR)
            bar = f"{bar}{'─' * (_BAR - len(bar))}"
            tail = f"{bar} {amount}/{human_size(piece.total)}{self._rate(piece)}"
        else:
            tail = f"{amount}{self._rate(piece)}" if piece.count else ""
        padded = start.ljust(30)
        text = self._cut(f"{padded} {tail}".rstrip(), columns)
        return text.replace("━", "\x1b[32m━", 1).replace("─", "\x1b[0m─", 1) + "\x1b[0m" if self._colour and "━" in text else text

    def _rate(self, piece: _Piece) -> str:
        elapsed = time.monotonic() - piece.began
        return f"  {human_size(int(piece.count / elapsed))}/s" if elapsed > 1 and piece.count else ""

    def _cut(self, text: str, columns: int) -> str:
        while cell_width(text) > columns:
            text = text[:-1]
        return text

    def _height(self) -> int:
        try:
            return os.get_terminal_size(output.STDERR).lines or 24
        except OSError:
            return 24

    def _write(self, text: str) -> None:
        try:
            output.write_bytes(output.STDERR, text.encode("utf-8", "surrogateescape"))
        except OSError:
            return  # progress that nobody can see stops nothing


def progress_for(*, quiet: bool = False) -> Quiet:
    """The progress that suits standard error."""
    if quiet:
        return Quiet()
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    return Bars() if output.is_terminal(output.STDERR) and not dumb else Lines()
