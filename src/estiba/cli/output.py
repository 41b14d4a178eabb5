"""What the command line writes: data on standard output, talk on standard error.

Text goes out as UTF-8 whatever the locale says, by write(2) on the descriptor, so that nothing is lost in a buffer that a later
execve(2) would drop, and a failing write is an error at the place where it happens.

This module is on the start path of ``run``: it imports os only.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from estiba.errors import EstibaError

STDOUT, STDERR = 1, 2


class OutputError(Exception):
    """Standard output cannot be written.

    Parameter: `cause`, the error of write(2).
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


def escape(text: str, keep: str = "") -> str:
    r"""Return `text` with everything that a terminal would obey made visible.

    Control characters, bidirectional marks and undecodable bytes become ``\n``, ``\x1b``, ``\u202e``; characters in `keep`
    stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _visible(c) for c in text)


def _visible(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def write(text: str) -> None:
    """Write data to standard output, all of it.

    Raises OutputError, with EPIPE when the reader went away.
    """
    try:
        write_bytes(STDOUT, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise OutputError(error) from error


def write_bytes(descriptor: int, data: bytes) -> None:
    """Write all of `data` to a descriptor, also when that is a pipe in non-blocking mode.

    Raises OSError.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _wait_writable(descriptor)


def _wait_writable(descriptor: int) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def lines(rows: Iterable[str]) -> None:
    """Write lines to standard output, control characters escaped."""
    write("".join(escape(row, keep="\t") + "\n" for row in rows))


def raw(text: str) -> None:
    """Write data as it is to a file or pipe; on a terminal with control characters escaped."""
    write(escape(text, keep="\n\t") if is_terminal(STDOUT) else text)


def talk(text: str) -> None:
    """Write one line to standard error.

    A standard error that cannot be written is nobody's to hear of: the exit code has to say it.
    """
    try:
        write_bytes(STDERR, (escape(text) + "\n").encode("utf-8"))
    except OSError:
        return


def warn(text: str) -> None:
    """Write a warning to standard error."""
    talk(f"estiba: warning: {text}")


def failure(message: str, hint: str | None = None) -> None:
    """Write an error and its hint to standard error, the word in red on a terminal."""
    talk_styled("estiba:", "1;31", message)
    if hint:
        talk_styled("hint:", "36", hint)


def failures(errors: Sequence[EstibaError]) -> int:
    """Write all errors of a command that does several things; the exit code for them, 0 for none."""
    for error in errors:
        failure(error.message, error.hint)
    return max((error.exit_code for error in errors), default=0)


def talk_styled(label: str, style: str, text: str) -> None:
    """Write a line to standard error whose first word carries a colour where colours are wanted."""
    if not has_colour(STDERR):
        talk(f"{label} {text}")
        return
    try:
        write_bytes(STDERR, f"\x1b[{style}m{label}\x1b[0m {escape(text)}\n".encode())
    except OSError:
        return


def is_terminal(descriptor: int) -> bool:
    """Whether the descriptor is a terminal (a closed one is not)."""
    return os.isatty(descriptor)


def has_colour(descriptor: int) -> bool:
    """Whether to colour what is written there: a terminal that can, and no NO_COLOR (https://no-color.org)."""
    return can_draw(descriptor) and not os.environ.get("NO_COLOR")


def can_draw(descriptor: int) -> bool:
    """Whether what is written there may move the cursor: a terminal that knows escapes."""
    return os.isatty(descriptor) and os.environ.get("TERM", "dumb") != "dumb"


def width(descriptor: int = STDOUT) -> int:
    """Columns of the terminal, or 80 where there is none or it has no sensible width."""
    columns = os.environ.get("COLUMNS", "")
    wanted = int(columns) if columns.isascii() and columns.isdigit() and len(columns) < 6 else 0
    if not wanted:
        try:
            wanted = os.get_terminal_size(descriptor).columns
        except OSError:
            wanted = 80
    return wanted if wanted >= 20 else 80
