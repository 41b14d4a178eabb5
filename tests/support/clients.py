"""Clients of a container: one that speaks PROTOCOL.md, "Clients", and the terminal of one that a user sits at."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import socket
import struct
import termios
import threading
from typing import TYPE_CHECKING, Any

from tests.support.plans import TERMINAL, read_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.plans import Container

HEADER = struct.Struct("<BBHIQ")
STARTED, OUTPUT, FAILED, EXITED, ACCEPTED, DROPPED = 1, 2, 3, 4, 5, 6
PROTOCOL = 1
INPUT, INPUT_END, SIGNAL, SIZE, LEAVE, BROKEN = 16, 17, 18, 19, 20, 21


class Client:
    """A client as PROTOCOL.md describes it."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(path))  # without a timeout it waits for room in the listener's queue
        self.socket.settimeout(30)
        self.sent = self.accepted = 0
        self.output = {1: b"", 2: b""}
        self.next: dict[int, int] = {}  # the offset behind what came of each stream
        self.status: int | None = None
        self.started = self.dropped = False

    def receive(self) -> int:
        """Takes one message; returns its type, 0 at the end."""
        data = self.socket.recv(65536)
        if not data:
            return 0
        kind, stream, _, number, offset = HEADER.unpack_from(data)
        if kind == OUTPUT:
            known = max(0, self.next.get(stream, offset) - offset)  # a new monitor sends again what may not have come
            self.output[stream] += data[HEADER.size + known :]
            self.next[stream] = max(self.next.get(stream, 0), offset + len(data) - HEADER.size)
        elif kind == EXITED:
            self.status = number
        elif kind == ACCEPTED:
            self.accepted = offset
        elif kind == STARTED:
            self.started = number == PROTOCOL
        elif kind == DROPPED:
            self.dropped = True
        return int(kind)

    def until(self, condition: object) -> None:
        assert callable(condition)
        while not condition():
            assert self.receive(), "the connection ended"

    def send(self, kind: int, number: int = 0, data: bytes = b"") -> None:
        self.socket.send(HEADER.pack(kind, 0, 0, number, self.sent if kind == INPUT else 0) + data)
        if kind == INPUT:
            self.sent += len(data)

    def write(self, data: bytes) -> None:
        """Sends input, never more than the window ahead of what was accepted."""
        for at in range(0, len(data), 4096):
            self.until(lambda: self.sent + 4096 - self.accepted <= 16384)
            self.send(INPUT, data=data[at : at + 4096])


def admitted(path: Path) -> Client | None:
    """A client, unless there are as many as there may be (those that died count until the monitor has read what they sent)."""
    client = Client(path)
    with contextlib.suppress(ConnectionResetError):
        if client.receive() == STARTED:
            return client
    client.socket.close()
    return None


class Terminal:
    """The outer terminal: the client has its slave as all three streams and as its controlling terminal.

    It starts `words`, or attaches to what runs behind the socket `attach`.
    """

    def __init__(self, container: Container, rows: int, columns: int, *words: str, stdin: int = 1, attach: Path | None = None) -> None:
        container.kind, container.stdin = TERMINAL, stdin
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        container.prefix = ["/usr/bin/setsid", "--ctty"]
        streams: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave}
        if attach is None:
            self.process = container.start(*words, **streams)
        else:
            self.process = container.attach(attach.parent, attach.name, **streams)
        self.slave = slave

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: bytes) -> bytes:
        return read_until(self.master, text)

    def close(self) -> int:
        drain = threading.Thread(target=self.drain)
        drain.start()
        status = self.process.wait(30)
        self.after = termios.tcgetattr(self.slave)
        os.close(self.slave)
        drain.join()
        os.close(self.master)
        return status

    def drain(self) -> None:
        try:
            while os.read(self.master, 4096):
                pass
        except OSError:
            return  # EIO: the last slave is closed
