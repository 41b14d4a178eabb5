"""A program that a helper runs in a container, as a child of this process."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from estiba.engine.start import launch_failure
from estiba.errors import OnFailure
from estiba.linux import process, signals
from estiba.runtime.launch import Launch, Process

_PIECE = 65536


def kill_program(helper: int, status: int) -> None:
    """Kills the program of the `helper` (a pidfd) whose `status` (a descriptor) tells of it, as soon as it does."""
    poll = select.poll()
    poll.register(helper, select.POLLIN)
    while not poll.poll(1):
        words = os.pread(status, 256, 0).split()
        if words[:1] == [b"running"] and len(words) > 2:
            program = process.pidfd(int(words[1]), words[2].decode("ascii"))
            if program is not None:
                try:
                    signals.pidfd_send_signal(program, signals.SIGKILL)
                except ProcessLookupError:
                    pass  # it has just ended
                finally:
                    os.close(program)
            return


class Running:
    """A program that runs in a container, with a helper as this process's child that waits for it."""

    def __init__(self, helper: Process, status: int, report: int) -> None:
        self._helper = helper
        self._status = status
        self._report = report
        self._end = os.pidfd_open(helper.pid)
        self._code: int | None = None

    def fileno(self) -> int:
        """A descriptor that can be read (poll(2)) when the program has ended."""
        return self._end

    def wait(self, timeout: float | None = None) -> int | None:
        """Returns the exit code, None when the program has not ended after `timeout` seconds.

        Raises CommandNotFound, CannotExecute, LaunchFailed with what the helper reports.
        """
        if self._code is None:
            poll = select.poll()
            poll.register(self._end, select.POLLIN)
            if not poll.poll(None if timeout is None else max(0, timeout) * 1000):
                return None
            self._code = self._helper.wait()
        record = os.pread(self._report, 4096, 0)
        if record:
            raise launch_failure(record, "exec in container")
        return self._code

    def kill(self) -> None:
        """Kills the program; `wait` has its exit code then. What it has started itself stays, as with Docker.

        To kill the helper alone would leave the program in the container: its pid and start time are in the helper's status.
        """
        kill_program(self._end, self._status)

    def close(self) -> None:
        """Closes the descriptors. A program that still runs goes on, and this process must wait for its helper itself."""
        for descriptor in (self._status, self._report, self._end):
            os.close(descriptor)


def start(launch: Callable[[int, int], Launch], stdin: int | None, stdout: int | None, stderr: int | None) -> Running:
    """Starts what `launch` makes, which is given the descriptors for the helper's status and failure; streams that are not given are this
    process's own.
    """
    status = os.memfd_create("estiba-status", os.MFD_CLOEXEC)
    report = os.memfd_create("estiba-report", os.MFD_CLOEXEC)
    with OnFailure(os.close, status), OnFailure(os.close, report):
        return Running(launch(status, report).spawn(stdin, stdout, stderr), status, report)


def collect(launch: Callable[[int, int], Launch], *, timeout: float | None, limit: int) -> tuple[int | None, bytes]:
    """Starts what `launch` makes, without input, and returns its exit code and what it wrote to both streams, as it came.

    After `timeout` seconds it is killed, and the code is None. Of the output the first `limit` bytes are kept.
    Raises as `start` and `Running.wait`.
    """
    output, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with OnFailure(os.close, output):
            running = start(launch, null, theirs, theirs)
    finally:
        os.close(theirs)
        os.close(null)
    try:
        kept = bytearray()
        in_time = _collect(running, output, kept, timeout, limit)
        if not in_time:
            running.kill()
            _collect(running, output, kept, None, limit)
        code = running.wait()
        return code if in_time else None, bytes(kept)
    finally:
        running.close()
        os.close(output)


def _collect(running: Running, output: int, kept: bytearray, timeout: float | None, limit: int) -> bool:
    """Reads until the program has ended; False when the time was over before."""
    deadline = None if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    for descriptor in (output, running.fileno()):
        poll.register(descriptor, select.POLLIN)
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        ready = {descriptor for descriptor, _ in poll.poll(None if left is None else left * 1000)}
        _read(output, kept, limit)
        if running.fileno() in ready:
            _read(output, kept, limit)  # what came before its end
            return True


def _read(output: int, kept: bytearray, limit: int) -> None:
    while True:
        try:
            piece = os.read(output, _PIECE)
        except BlockingIOError:
            return
        if not piece:
            return
        kept += piece[: max(0, limit - len(kept))]
