"""Pseudo-terminals of a bundle's processes: the master goes to who asked for it."""

from __future__ import annotations

import _socket
import os

from estiba.errors import FailedPrecondition


def send_console(path: str, master: int) -> None:
    """Sends the master over the Unix socket `path` (SCM_RIGHTS), as runc does, and closes it. Raises FailedPrecondition."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, "little"))
        connection.sendmsg([b"/dev/ptmx"], [rights])
    except OSError as error:
        raise FailedPrecondition(f"cannot use console socket {path}: {error.strerror}") from error
    finally:
        connection.close()
        os.close(master)


def no_console(master: int) -> None:
    """For a process without a terminal."""
    os.close(master)
