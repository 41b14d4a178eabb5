"""Runs the helper's layer commands: `unpack`, `read`, `remove` (helper/PROTOCOL.md, "Layers")."""

from __future__ import annotations

import errno
import fcntl
import os
import re

from estiba.errors import DataLoss, EstibaError, FailedPrecondition, PermissionDenied, ResourceExhausted
from estiba.linux.idmap import layer_maps
from estiba.plan import ops
from estiba.plan.encode import encode
from estiba.plan.helper import helper_path, plan_descriptor, spawn
from estiba.store.layers.pax import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from estiba.config.settings import Settings

    Buffer = bytes | memoryview

#: What is collected before it is written: the pipe holds a MiB.
_BATCH = 1 << 19
_BATCH_PARTS = 900  # below IOV_MAX


class Jail:
    """One running `estiba-init MODE`, as a context manager; leaving it waits for the helper, or kills it after an error.

    Parameters: `root`, the folder that the jail sees; `held`, a descriptor whose flock(2) shall live as long as the jail; `what`, verb and
    object for messages ("unpack layer sha256:...").
    """

    def __init__(self, settings: Settings, mode: str, root: str, *, what: str, held: int | None = None) -> None:
        self.what = what
        self.status: int | None = None
        self._parts: list[Buffer] = []
        self._size = 0
        self._input = self._output = self._errors = -1
        self._pid = self._start(settings, mode, root, held)
        self._answers = os.fdopen(self._output, "rb", buffering=1 << 18, closefd=False)

    def _start(self, settings: Settings, mode: str, root: str, held: int | None) -> int:
        maps = layer_maps(settings)
        program = helper_path(settings)
        theirs: list[int] = []
        try:
            folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            theirs.append(folder)
            slots = [ops.slot(0, folder, root)]
            if held is not None:
                slots.append(ops.slot(1, held, ""))
            plan = plan_descriptor(
                encode([*slots, ops.user_namespace(maps.uid_map, maps.gid_map, maps.setgroups, maps.newuidmap, maps.newgidmap)])
            )
            theirs.append(plan)
            stdin, self._input = os.pipe2(os.O_CLOEXEC)
            theirs.append(stdin)
            _widen(stdin)
            self._output, stdout = os.pipe2(os.O_CLOEXEC)
            theirs.append(stdout)
            self._errors, stderr = os.pipe2(os.O_CLOEXEC)
            theirs.append(stderr)
            keep = [folder] if held is None else [folder, held]
            pid = spawn(program, mode, plan, keep=keep, stdin=stdin, stdout=stdout, stderr=stderr)
        except OSError as error:
            self._close()
            raise FailedPrecondition(f"cannot {self.what}: estiba-init: {error.strerror}") from None
        finally:
            if held is not None:
                os.set_inheritable(held, False)
            for descriptor in theirs:
                os.close(descriptor)
        return pid

    def send(self, *parts: Buffer) -> None:
        """Sends records, sooner or later; `flush` sends what is left."""
        self._parts.extend(parts)
        self._size += sum(map(len, parts))
        if self._size >= _BATCH or len(self._parts) >= _BATCH_PARTS:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected. Raises what the helper reports when it has ended."""
        parts, self._parts, self._size = self._parts, [], 0
        try:
            while parts:
                written = os.writev(self._input, parts)
                while parts and written >= len(parts[0]):
                    written -= len(parts.pop(0))
                if parts and written:
                    parts[0] = memoryview(parts[0])[written:]
        except BrokenPipeError:
            raise self.failure() from None

    def receive(self, size: int) -> bytes:
        """Exactly `size` bytes of the helper's standard output; fewer when it ended."""
        return self._answers.read(size)

    def expect(self, answer: bytes) -> None:
        """Waits for an answer on standard output."""
        self.flush()
        got = self.receive(len(answer))
        if got != answer:
            raise self.failure(got)

    def finish(self) -> None:
        """Ends the input, waits for the helper; raises what it reports."""
        self.flush()
        os.close(self._input)
        self._input = -1
        said = self._answers.read()
        if self.wait() != 0:
            raise self.failure(said)

    def failure(self, said: bytes = b"") -> EstibaError:
        """The error that the helper reports, when it has ended or is about to."""
        said += self._answers.read() + _drain(self._errors)
        return _error(self.what, said, self.wait())

    def wait(self) -> int:
        """The helper's exit status (128 + signal when it was killed)."""
        if self.status is None:
            _, status = os.waitpid(self._pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else 128 - code
        return self.status

    def _close(self) -> None:
        for descriptor in (self._input, self._output, self._errors):
            if descriptor >= 0:
                os.close(descriptor)
        self._input = self._output = self._errors = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()  # ends the helper: its input is over, its output goes nowhere
        self.wait()


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    except PermissionError:
        pass  # the user's share of pipe memory is used up (pipe(7)): slower, not wrong


def _drain(descriptor: int) -> bytes:
    parts = []
    while data := os.read(descriptor, 65536):
        parts.append(data)
    return b"".join(parts)


_RECORD = re.compile(rb"^failed ([a-z-]+) (\d+) (\S*)$", re.MULTILINE | re.ASCII)
_JAIL_STEPS = {
    "clone": "user namespaces", "id-maps": "the identifier maps", "setresuid": "the identifier maps", "setresgid": "the identifier maps",
}  # fmt: skip

#: What a layer's own tree can be the reason for, not the machine.
_TREE_ERRORS = frozenset((
    errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY,
    errno.EPROTO, errno.ERANGE,
))  # fmt: skip


def _error(what: str, said: bytes, status: int) -> EstibaError:
    """The error of a failure record; the helper's own words when there is none."""
    match = _RECORD.search(said)
    if match is None:
        words = said.decode("utf-8", "replace").strip().splitlines()
        return FailedPrecondition(f"cannot {what}: estiba-init ended with status {status}{': ' + words[-1] if words else ''}")
    step, number, path = match[1].decode(), int(match[2]), _unescape(match[3])
    cause = os.strerror(number)
    where = f"entry {show(path)}: " if path else ""
    message = f"cannot {what}: {where}{cause}"
    if number in (errno.EDQUOT, errno.EFBIG):
        return ResourceExhausted(
            f"cannot {what}: {where}the budget for one layer is used up",
            hint="raise unpack-max-bytes or unpack-max-inodes in the configuration if you trust the image",
        )
    if number == errno.ENOSPC:
        return ResourceExhausted(message, hint="free space, for example with: estiba image prune")
    if step in _JAIL_STEPS:
        return FailedPrecondition(f"cannot {what}: {_JAIL_STEPS[step]}: {cause}", hint="see: estiba doctor")
    if number in (errno.EACCES, errno.EPERM):
        return PermissionDenied(f"cannot {what}: {step}: {where}{cause}")
    if path and number in _TREE_ERRORS:
        return DataLoss(message)
    return FailedPrecondition(f"cannot {what}: {step}: {where}{cause}")


def _unescape(path: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda m: bytes((int(m[1], 8) & 255,)), path)
