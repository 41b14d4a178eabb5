"""`estiba-init create` and what it says while it makes a process (helper/PROTOCOL.md, "Create")."""

from __future__ import annotations

import _socket
import os

from estiba.errors import CannotExecute, CommandNotFound, LaunchFailed
from estiba.plan.encode import encode
from estiba.plan.helper import helper_path, plan_descriptor, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiba.errors import EstibaError
    from estiba.plan.helper import HelperSettings
    from estiba.plan.ops import Op

_FAILED, _GO, _STREAMS, _EXECUTE, _ASK = 3, 32, 33, 37, 41
_HEADER = 16
_RECORD = 4096


class Slots:
    """The descriptors that a plan names, in the order of their slots. They are closed when the helper has them."""

    __slots__ = ("_kept", "opened")

    def __init__(self) -> None:
        self.opened: list[tuple[int, str]] = []
        self._kept: set[int] = set()

    def add(self, descriptor: int, path: str = "", *, keep: bool = False) -> int:
        """A slot of an open descriptor, which is closed in the end unless it is the caller's to `keep`."""
        if keep:
            self._kept.add(descriptor)
        self.opened.append((descriptor, path))
        return len(self.opened) - 1

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """A slot of what is at `path`."""
        return self.add(os.open(path, flags | os.O_CLOEXEC), path)

    def close(self) -> None:
        """Closes them."""
        for descriptor, _ in self.opened:
            if descriptor not in self._kept:
                os.close(descriptor)
        self.opened = []


class Creation:
    """One run of the helper.

    `ask` is called with the pid when the mounts are made, `terminal` with the descriptor of a pseudo-terminal's master, which it closes.
    """

    __slots__ = ("_ask", "_terminal")

    def __init__(self, *, ask: Callable[[int], None], terminal: Callable[[int], None]) -> None:
        self._ask = ask
        self._terminal = terminal

    def carry_out(self, settings: HelperSettings, plan: Callable[[int], Sequence[Op]], slots: Slots, program: str) -> int:
        """Makes the process of `plan`, which is called with the slot of the helper's connection. Returns its pid.

        Raises what the helper reports: CommandNotFound and CannotExecute about `program`, LaunchFailed; and what `ask` raises, which ends
        the process.
        """
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            ops = plan(slots.add(theirs.detach()))
            helper = helper_path(settings)
            pid = _spawn(helper, encode(ops), [number for number, _ in slots.opened])
            slots.close()
            try:
                return self._hear(ours, program)
            finally:
                ours.close()
                os.waitpid(pid, 0)
        finally:
            ours.close()
            slots.close()

    def _hear(self, ours: _socket.socket, program: str) -> int:
        while True:
            data, control, _, _ = ours.recvmsg(_HEADER + _RECORD, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
            if len(data) < _HEADER:
                raise LaunchFailed(f"cannot run {program}: estiba-init was killed")
            kind, number = data[0], int.from_bytes(data[4:8], "little")
            if kind == _FAILED:
                raise failure(data[_HEADER:].decode("utf-8", "replace"), program)
            if kind == _EXECUTE:
                return number
            if kind == _STREAMS:
                master = int.from_bytes(control[0][2][:4], "little")
                os.set_blocking(master, True)
                self._terminal(master)
            elif kind == _ASK:
                self._ask(number)
                ours.send(go())


def _spawn(helper: str, plan: bytes, keep: Sequence[int]) -> int:
    descriptor = plan_descriptor(plan)
    try:
        return spawn(helper, "create", descriptor, keep=keep)
    except OSError as error:
        raise LaunchFailed(f"cannot run {helper}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def go() -> bytes:
    """The message that lets a process go on."""
    return bytes((_GO,)) + bytes(_HEADER - 1)


def start(path: str, program: str) -> None:
    """Says `go` to the process that waits at the socket `path`, and waits until it is executed. The socket is gone before.

    Raises ConnectionError when nobody waits there, and what the helper reports.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        _connect(connection, path)
        os.unlink(path)
        connection.send(go())
        executes = False
        while data := connection.recv(_HEADER + _RECORD):
            if data[0] == _FAILED:
                raise failure(data[_HEADER:].decode("utf-8", "replace"), program)
            executes = executes or data[0] == _EXECUTE
        if not executes:
            raise LaunchFailed(f"cannot run {program}: its first process was killed")
    finally:
        connection.close()


def _connect(connection: _socket.socket, path: str) -> None:
    """By the folder's descriptor: an address has room for 108 bytes (unix(7))."""
    folder, name = os.path.split(path)
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{name}")
    finally:
        os.close(directory)


def failure(record: str, program: str) -> EstibaError:
    """The error of a failure record (helper/PROTOCOL.md). Engines above know a missing program by runc's words."""
    kind, step, _, text = record.partition("\n")[0].split(" ", 3)
    text, _, hint = text.partition("\t")
    if kind == "not-found":
        cause = "no such file or directory" if "/" in program else "executable file not found in $PATH"
        return CommandNotFound(f"cannot run {program}: {cause}", hint=hint or None)
    if kind == "cannot-execute":
        return CannotExecute(f"cannot run {text.lower() if text.startswith(program) else f'{program}: {text}'}", hint=hint or None)
    return LaunchFailed(f"cannot run {program}: {step}: {text}", hint=hint or None)
