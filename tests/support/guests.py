"""A guest without a jail, and the host's end of its channel in Python (helper/PROTOCOL.md, "Guests")."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from estiba.machine import uml
from estiba.machine.parts import Parts
from estiba.plan.encode import encode
from estiba.plan.helper import helper_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.plan.ops import Op

STARTED, OUTPUT, FAILED, EXITED, ACCEPTED = 1, 2, 3, 4, 5
INPUT, INPUT_END, SIGNAL, SIZE, BROKEN = 16, 17, 18, 19, 21
READY, PLAN, SYNCED, READ = 64, 66, 67, 68
_HEAD = struct.Struct("<IIBBHIQ")
PATIENCE_SECONDS = 30
CHUNK = 30000


@dataclass(frozen=True)
class Frame:
    session: int
    type: int
    stream: int
    number: int
    offset: int
    data: bytes


def member(name: str, mode: int, data: bytes = b"") -> bytes:
    """A member of a cpio archive of the format newc."""

    def padded(part: bytes) -> bytes:
        return part + bytes(-len(part) % 4)

    text = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(text), 0)
    return padded(b"070701" + b"".join(b"%08X" % number for number in numbers) + text) + padded(data)


class Guest:
    """A User-Mode Linux kernel with the helper as its PID 1. What it said is in `frames`."""

    def __init__(self, kernel: Path, folder: Path, disks: Sequence[tuple[str, bool]], plan: bytes | None = None) -> None:
        files = [("init", 0o100700, Path(helper_path()).read_bytes()), ("entropy", 0o100600, os.urandom(64))]
        if plan is not None:
            files.append(("plan", 0o100600, plan))
        archive = folder / "initramfs"
        archive.write_bytes(b"".join(member(*file) for file in files) + member("TRAILER!!!", 0))
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(PATIENCE_SECONDS)
        words = uml.arguments(Parts(str(kernel), 128 << 20, disks))
        changed = {"ssl0=": f"ssl0=fd:{theirs.fileno()},fd:{theirs.fileno()}", "uml_dir=": f"uml_dir={folder}/uml/"}
        changed |= {"initrd=": f"initrd={archive}", "hostfs=": f"hostfs={folder}/none"}
        words = [next((new for start, new in changed.items() if word.startswith(start)), word) for word in words]
        self.process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL, start_new_session=True)
        theirs.close()
        self.frames: list[Frame] = []
        self.accepted: dict[tuple[int, int], int] = {}
        self.acknowledges = True
        self._buffer = b""
        self._sent = self._credit = 0
        self._window = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()

    def send(self, session: int, kind: int, data: bytes = b"", *, stream: int = 0, number: int = 0, offset: int = 0) -> None:
        frame = _HEAD.pack(len(data), session, kind, stream, 0, number, offset) + data
        while frame:
            room = len(frame) if self._window == 0 else min(len(frame), self._window - (self._sent - self._credit))
            if room == 0:
                self._receive()
                continue
            self.channel.sendall(frame[:room])
            self._sent += room
            frame = frame[room:]

    def start(self, session: int, ops: Sequence[Op]) -> None:
        plan = encode(ops)
        for offset in range(0, len(plan), CHUNK):
            self.send(session, PLAN, plan[offset : offset + CHUNK], number=len(plan), offset=offset)

    def next(self, session: int, *kinds: int) -> Frame:
        """The next frame of these kinds that the session has not given out yet."""
        while True:
            for index, frame in enumerate(self.frames):
                if frame.session == session and frame.type in kinds:
                    return self.frames.pop(index)
            self._receive()

    def output(self, session: int, stream: int) -> bytes:
        """What the session wrote to a stream so far, and until it ends."""
        ended = self.next(session, EXITED, FAILED)
        self.frames.append(ended)
        parts = [frame for frame in self.frames if (frame.session, frame.type, frame.stream) == (session, OUTPUT, stream)]
        return b"".join(frame.data for frame in parts)

    def _receive(self) -> None:
        data = self.channel.recv(65536)
        assert data, "the guest is gone"
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            size, session, kind, stream, _, number, offset = _HEAD.unpack_from(self._buffer)
            if len(self._buffer) < _HEAD.size + size:
                return
            content = self._buffer[_HEAD.size : _HEAD.size + size]
            self._buffer = self._buffer[_HEAD.size + size :]
            self._note(Frame(session, kind, stream, number, offset, content))

    def _note(self, frame: Frame) -> None:
        if frame.type == READY:
            self._window = frame.offset
        elif frame.type == READ:
            self._credit = frame.offset
            return
        elif frame.type == OUTPUT and self.acknowledges:
            self.frames.append(frame)
            self.send(frame.session, ACCEPTED, stream=frame.stream, offset=frame.offset + len(frame.data))
            return
        self.frames.append(frame)
