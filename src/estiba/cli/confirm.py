"""Questions before something is removed."""

from __future__ import annotations

from estiba.cli import output


def confirmed(what: str) -> bool:
    """Ask on the terminal; without one nothing is removed and a line says how to do without the question."""
    if not output.is_terminal(0):
        output.failure("cannot ask: standard input is not a terminal", "-f removes without asking")
        return False
    try:
        return input(f"{what} Continue? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
