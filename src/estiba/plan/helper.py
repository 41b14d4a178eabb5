"""Finds `estiba-init` and runs it: the only module that knows where the helper is.

On the start path: `os` alone, and that is loaded by the interpreter itself.
"""

from __future__ import annotations

import os

from estiba.errors import FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class HelperSettings(Protocol):
        """The part of `config.Settings` that this module reads."""

        @property
        def helper_path(self) -> str | None: ...


_PACKAGED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_bin", "estiba-init")

# An empty environment: nothing of the caller's, and never an image's, reaches the helper (hardening W5).
ENVIRONMENT: dict[str, str] = {}


def helper_path(settings: HelperSettings | None = None) -> str:
    """The helper's path: `settings.helper_path` where it is set, else the one in the package.

    Raises FailedPrecondition when there is no such program.
    """
    path = (settings.helper_path if settings is not None else None) or _PACKAGED
    if not os.access(path, os.X_OK):
        raise FailedPrecondition(
            f"cannot run estiba-init: {path} is not there or cannot be executed",
            hint="in a checkout, build it with: make -C helper",
        )
    return path


def guest_helper_path(settings: HelperSettings, architecture: str, host: str) -> str:
    """The path of the helper for guests of `architecture` on a machine of `host` (OCI's names). Raises FailedPrecondition."""
    if architecture == host:
        return helper_path(settings)
    path = f"{_PACKAGED}-{architecture}"
    if not os.access(path, os.R_OK):
        raise FailedPrecondition(
            f"cannot run a guest of {architecture}: {path} is not there",
            hint="as root: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross; then install estiba again, which builds it",
        )
    return path


def plan_descriptor(plan: bytes) -> int:
    """A descriptor of an anonymous file that holds `plan`, inherited by programs that are executed (memfd_create(2))."""
    descriptor = os.memfd_create("estiba-plan", 0)
    try:
        view = memoryview(plan)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def spawn(
    path: str,
    mode: str,
    plan: int,
    *,
    keep: Sequence[int] = (),
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> int:
    """Starts `path mode plan` and returns its pid, which the caller must wait for (posix_spawn(3)).

    `plan` and the descriptors of `keep` are made inheritable first. `stdin`, `stdout` and `stderr` take the place of the
    caller's own where they are given. The signal mask and dispositions are the helper's own affair: it sets them itself.
    """
    for descriptor in (plan, *keep):
        os.set_inheritable(descriptor, True)
    actions = [
        (os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate((stdin, stdout, stderr)) if source is not None
    ]
    return os.posix_spawn(path, ["estiba-init", mode, str(plan)], ENVIRONMENT, file_actions=actions)
