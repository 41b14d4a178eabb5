"""Questions on the terminal. They are talk, so they go to standard error."""

from __future__ import annotations

from estiba.cli import output


def ask(prompt: str) -> str:
    """One line from standard input, without its end; empty at the end of the input."""
    output.write_bytes(output.STDERR, prompt.encode())
    with open(0, encoding="utf-8", errors="surrogateescape", closefd=False) as stream:
        return stream.readline().rstrip("\r\n")


def confirmed(what: str) -> bool:
    """Ask before something is removed; without a terminal nothing is, and a line says how to do without the question."""
    if not output.is_terminal(0):
        output.failure("cannot ask: standard input is not a terminal", "-f removes without asking")
        return False
    return ask(f"{what} Continue? [y/N] ").strip().lower() in ("y", "yes")
