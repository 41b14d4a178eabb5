"""Copies between the caller's streams and the master of a program's pseudo-terminal (termios(3), ioctl_tty(2))."""

from __future__ import annotations

import fcntl
import os
import select
import termios
import tty

from estiba.linux import signals

_PIECE = 32768


def copy_terminal(master: int) -> None:
    """Copies until the program's side is closed by all who have it. The caller's terminal is raw meanwhile."""
    before = termios.tcgetattr(0) if os.isatty(0) else None
    copy_size(master)
    signals.signal(signals.SIGWINCH, lambda _number, _frame: copy_size(master))
    try:
        if before is not None:
            tty.setraw(0)
        _copy(master)
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        os.close(master)


def copy_size(master: int) -> None:
    """Gives the pseudo-terminal the size of the caller's."""
    if os.isatty(0):
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))


def _copy(master: int) -> None:
    sources = [master, 0]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if 0 in ready and not _pass_on(0, master):
            sources.remove(0)
        if master in ready and not _pass_on(master, 1):
            return


def _pass_on(source: int, target: int) -> bool:
    try:
        data = os.read(source, _PIECE)
    except OSError:  # EIO: nobody has the other side any more
        return False
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return bool(data)
