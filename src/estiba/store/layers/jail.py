"""Runs the helper's layer commands: `unpack`, `read`, `remove` (helper/PROTOCOL.md, "Layers")."""

from __future__ import annotations

import errno
import fcntl
import os

from estiba.errors import DataLoss, EstibaError, FailedPrecondition, PermissionDenied, ResourceExhausted
from estiba.linux.idmap import layer_maps
from estiba.plan import ops
from estiba.plan.encode import encode
from estiba.plan.helper import helper_path, plan_descriptor, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from estiba.config.settings import Settings
    from estiba.plan.ops import Op

    Buffer = bytes | memoryview

#: What is collected before it is written: the pipe holds a MiB.
_BATCH = 1 << 19
_BATCH_PARTS = 900  # below IOV_MAX


class Helper:
    """One running `estiba-init MODE`, as a context manager; leaving it waits for the helper, or kills it after an error.

    Parameters: `plan`, its operations; `keep`, the descriptors that its slots name, which stay the caller's; `what`, verb and object for
    messages ("unpack layer sha256:...").
    """

    def __init__(self, settings: Settings, mode: str, plan: Sequence[Op], keep: Sequence[int], *, what: str) -> None:
        self.what = what
        self.status: int | None = None
        self._parts: list[Buffer] = []
        self._size = 0
        self._input = self._output = self._errors = -1
        self._pid = self._start(settings, mode, plan, keep)
        self._answers = os.fdopen(self._output, "rb", buffering=1 << 18, closefd=False)

    def _start(self, settings: Settings, mode: str, operations: Sequence[Op], keep: Sequence[int]) -> int:
        program = helper_path(settings)
        theirs: list[int] = []
        try:
            plan = plan_descriptor(encode(operations))
            theirs.append(plan)
            stdin, self._input = os.pipe2(os.O_CLOEXEC)
            theirs.append(stdin)
            _widen(stdin)
            self._output, stdout = os.pipe2(os.O_CLOEXEC)
            theirs.append(stdout)
            self._errors, stderr = os.pipe2(os.O_CLOEXEC)
            theirs.append(stderr)
            return spawn(program, mode, plan, keep=keep, stdin=stdin, stdout=stdout, stderr=stderr)
        except OSError as error:
            self._close()
            raise FailedPrecondition(f"cannot {self.what}: estiba-init: {error.strerror}") from None
        finally:
            for descriptor in keep:
                os.set_inheritable(descriptor, False)
            for descriptor in theirs:
                os.close(descriptor)

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
        self._close_input()
        said = self._answers.read()
        if self.wait() != 0:
            raise self.failure(said)

    def _close_input(self) -> None:
        os.close(self._input)
        self._input = -1

    def failure(self, said: bytes = b"") -> EstibaError:
        """The error that the helper reports, when it has ended or is about to."""
        return _error(self.what, self.last_words(said), self.wait())

    def last_words(self, said: bytes = b"") -> bytes:
        """What the helper says until it ends, on standard output and error."""
        return said + self._answers.read() + self.errors()

    def errors(self) -> bytes:
        """What the helper says on standard error until it ends."""
        return _drain(self._errors)

    def wait(self) -> int:
        """The helper's exit status (128 + signal when it was killed)."""
        if self.status is None:
            _, status = os.waitpid(self._pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else 128 - code
        return self.status

    def leave(self) -> None:
        """Lets the helper go on alone, and be waited for by init: nobody hears what it says."""
        self._close()

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


class Jail(Helper):
    """A layer command.

    Parameters: `root`, the folder that the jail sees; `held`, a descriptor whose flock(2) shall live as long as the jail.
    """

    def __init__(self, settings: Settings, mode: str, root: str, *, what: str, held: int | None = None) -> None:
        maps = layer_maps(settings)
        try:
            folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise FailedPrecondition(f"cannot {what}: {root}: {error.strerror}") from None
        slots = [ops.slot(0, folder, root)] + ([] if held is None else [ops.slot(1, held, "")])
        plan = [*slots, ops.user_namespace(maps.uid_map, maps.gid_map, maps.setgroups, maps.newuidmap, maps.newgidmap)]
        try:
            super().__init__(settings, mode, plan, [folder] if held is None else [folder, held], what=what)
        finally:
            os.close(folder)


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
    import re

    from estiba.store.layers.pax import show

    records = (re.fullmatch(rb"failed ([a-z-]+) (\d+) (\S*)", line, re.ASCII) for line in said.split(b"\n"))
    match = next(filter(None, records), None)
    if match is None:
        words = said.decode("utf-8", "replace").strip().splitlines()
        return FailedPrecondition(f"cannot {what}: estiba-init ended with status {status}{': ' + words[-1] if words else ''}")
    step, number = match[1].decode(), int(match[2])
    path = re.sub(rb"\\([0-7]{3})", lambda octal: bytes((int(octal[1], 8) & 255,)), match[3])
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
