"""Programs of `exec`, and questions of other verbs, in the guest of a container that has a kernel of its own.

As everywhere a helper enters the container, here the jail of its machine; there it stands for what the guest does, and brings the plan
of that with it (helper/PROTOCOL.md, "Guests").
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from estiba.config.settings import Settings
from estiba.engine import stored_options
from estiba.engine.binder import window
from estiba.engine.child import collect, kill_program
from estiba.engine.containers import Container
from estiba.engine.entering import Draft, way_in
from estiba.engine.files.jail import FileJail
from estiba.engine.launching import filter_of, profile_of, stored_profile
from estiba.errors import Conflict, FailedPrecondition, OnFailure
from estiba.machine import guest, jail, layout
from estiba.machine.qemu import CPUS
from estiba.oci.platform import parse_platform
from estiba.plan import ops
from estiba.plan.encode import encode
from estiba.runtime import seccomp_monitor
from estiba.runtime.compile import namespace_flags, process_ops
from estiba.runtime.exec_spec import exec_spec
from estiba.runtime.launch import Launch
from estiba.runtime.options import RunOptions
from estiba.runtime.spec import USER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import BinaryIO

    from estiba.plan.ops import Op

_PIPES, _TERMINAL, _NULL = 1, 2, 0
_LONGEST, _MOST = 1 << 16, 1 << 26  # bytes of a file, and of all
_SPEC: dict[str, Any] = {"annotations": {USER: "0:0"}, "linux": jail.namespaces(), "process": jail.process(terminal=False, held=())}
#: How long a guest may take to begin what it is asked for, and then to say what its files hold.
PATIENCE_SECONDS, _READ_SECONDS = 30, 10
#: CLONE_NEW* of a machine's jail.
NAMESPACES = namespace_flags(_SPEC)


def program_ops(container: Container, own: dict[str, Any], options: RunOptions) -> list[Op]:
    """What becomes the program in the helper's plan, once the jail is joined. `own` is the container's spec."""
    stored = stored_options.options(container.options, f"{container.folder}/state.json")
    spec = exec_spec(own, options, guest.facts().rlimits)
    profile = profile_of(stored, stored_profile(container.folder))
    cpu = CPUS[str(container.kernel["architecture"])]
    process = process_ops(spec, filter_of(stored, profile, own, parse_platform(container.platform).architecture, cpu))
    tree = guest.Tree()
    program, group = tree.program(), tree.slot(layout.GUEST_GROUP_PATH)
    kind = _TERMINAL if options.tty else _NULL if options.detach else _PIPES
    streams = ops.streams(kind, int(options.interactive and not options.detach), *(window() if options.tty else (0, 0)))
    console = [ops.console()] if options.tty else []
    return _relay([*tree.ops, ops.join(program, namespace_flags(own)), ops.cgroup(group), streams, *console, *process])


class GuestFiles(FileJail):
    """The files of a container in a guest: root and, at `targets`, its mounts. Raises Conflict for one that does not run, or ends."""

    def __init__(self, settings: Settings, container: Container, targets: Sequence[str], *, what: str, write: bool) -> None:
        tree = guest.Tree()
        program = tree.program()
        plan = [ops.guest_files(int(write)), *tree.ops, ops.container_root(program, 1), *map(ops.container_mount, targets)]
        self._report = os.memfd_create("estiba-report", os.MFD_CLOEXEC)
        self._state = os.memfd_create("estiba-status", os.MFD_CLOEXEC)
        with OnFailure(os.close, self._report), OnFailure(os.close, self._state):
            operations, descriptors = _errand(settings, container, plan, report=self._report, status=self._state)
            try:
                super().__init__(settings, "run", operations, descriptors, what=what)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def last_words(self, said: bytes = b"") -> bytes:
        """What the helpers here and in the guest say."""
        return super().last_words(said) + os.pread(self._report, 4096, 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is not None and self.status is None:
                self._end()
            super().__exit__(kind, error, trace)
        finally:
            os.close(self._state)
            os.close(self._report)

    def _end(self) -> None:
        """Nobody listens any more, and a guest may go on for all that."""
        helper = os.pidfd_open(self._pid)
        try:
            kill_program(helper, self._state)
        finally:
            os.close(helper)


def read_files(settings: Settings, container: Container, patterns: Sequence[str]) -> dict[str, bytes]:
    """The content of the guest's files of these patterns (glob(7)), at most 64 KiB of each.

    Raises Conflict when the container ends, LaunchFailed or FailedPrecondition when its guest does not answer.
    """

    def launch(status: int, report: int) -> Launch:
        return Launch(settings, *_errand(settings, container, [ops.guest_read(patterns)], status=status, report=report))

    code, answers = collect(launch, timeout=_READ_SECONDS, limit=_MOST)
    if code is None:
        raise FailedPrecondition(f"cannot ask the machine of container {container.name}: it does not answer")
    if code != 0:
        raise Conflict(f"cannot ask the machine of container {container.name}: it ended at this moment", hint="try again")
    return dict(_parts(BytesIO(answers)))


def _parts(answers: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Of a guest, which may send what it likes: what is cut short is left out, and so is what comes behind the first 64 MiB."""
    left = _MOST
    while left > 0 and (path := _part(answers)):
        content = _part(answers)
        left -= len(path) + len(content)
        yield path.decode("utf-8", "replace"), content


def _part(answers: BinaryIO) -> bytes:
    return answers.read(min(int.from_bytes(answers.read(4), "little"), _LONGEST))


def _errand(
    settings: Settings, container: Container, plan: Sequence[Op], *, report: int, status: int | None = None
) -> tuple[list[Op], list[int]]:
    """The helper's plan, for its command `run`, which has the guest carry out `plan`, and the descriptors that it names; a failure is
    written to the descriptor `report`, how far it is to `status`.
    """
    draft = Draft()
    with OnFailure(draft.close):
        _, host = way_in(draft, settings, container, NAMESPACES)
        host.append(ops.report(draft.slot(os.dup(report))))
        if status is not None:
            host.append(ops.status(draft.slot(os.dup(status))))
        return [*draft.slots, *host, ops.streams(_PIPES, 1, 0, 0), ops.client(1, 0), *_relay(plan)], draft.descriptors


def _relay(plan: Sequence[Op]) -> list[Op]:
    return list(process_ops(_SPEC, seccomp_monitor.FILTERS[os.uname().machine], ops.machine_execute(encode(plan), PATIENCE_SECONDS)))
