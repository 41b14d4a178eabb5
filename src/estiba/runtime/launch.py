"""Hands a plan to `estiba-init`.

`Launch.exec` puts the helper in this process's place: the command line has nothing more to do, no Python stays resident, and the
millisecond of a spawn is saved. `Launch.spawn` keeps this process: for the library and for --explain. On the start path of ``run``.
"""

from __future__ import annotations

import os

from estiba.errors import LaunchFailed
from estiba.plan.encode import encode
from estiba.plan.helper import ENVIRONMENT, helper_path, plan_descriptor, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn

    from estiba.config.settings import Settings
    from estiba.plan.ops import Op


class Launch:
    """A plan, the helper's command for it, and the descriptors that its slots name, which it consumes."""

    __slots__ = ("command", "descriptors", "helper", "plan")

    def __init__(self, settings: Settings, plan: Sequence[Op], descriptors: Iterable[int], command: str = "run") -> None:
        self.command = command
        self.helper = helper_path(settings)
        self.plan = encode(plan)
        self.descriptors = tuple(descriptors)

    def exec(self) -> NoReturn:
        """Becomes the helper. Raises LaunchFailed when it cannot be executed."""
        plan = plan_descriptor(self.plan)
        for descriptor in (plan, *self.descriptors):
            os.set_inheritable(descriptor, True)
        try:
            os.execve(self.helper, ["estiba-init", self.command, str(plan)], ENVIRONMENT)
        except OSError as error:
            raise LaunchFailed(f"cannot run {self.helper}: {error.strerror}") from error

    def spawn(self, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None) -> Process:
        """Starts the helper; streams that are not given are this process's own. Raises LaunchFailed."""
        plan = plan_descriptor(self.plan)
        try:
            pid = spawn(self.helper, self.command, plan, keep=self.descriptors, stdin=stdin, stdout=stdout, stderr=stderr)
        except OSError as error:
            raise LaunchFailed(f"cannot run {self.helper}: {error.strerror}") from error
        finally:
            os.close(plan)
            self.close()
        return Process(pid)

    def close(self) -> None:
        """Closes the descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Process:
    """The helper of one run, as this process's child."""

    __slots__ = ("pid",)

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self) -> int:
        """Waits for its end and returns the exit code: the program's, or the helper's own 125, 126, 127."""
        while True:
            try:
                _, status = os.waitpid(self.pid, 0)
            except InterruptedError:
                continue
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
