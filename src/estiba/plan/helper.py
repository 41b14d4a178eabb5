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


# path -> identities of the file and of its sealed copy, and the copy's descriptor: kept as long as the process lives
_sealed: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {}


def sealed_helper(path: str) -> str:
    """A path by which this process executes a sealed copy of the helper at `path`, or `path` itself where that is forbidden.

    The helper seals itself (hardening W4); to whom starts many it is 200 us less a start when the copy is there already. A helper
    that was replaced meanwhile is copied again.
    """
    import fcntl

    identity = _identity(os.stat(path))
    known = _sealed.get(path)
    if known is not None and known[0] == identity and _is_open(known[2], known[1]):
        return f"/proc/self/fd/{known[2]}"
    try:
        copy = _sealed_copy(path, identity[2])
    except PermissionError:  # vm.memfd_noexec=2 (Documentation/userspace-api/mfd_noexec.rst): the helper has a second way
        return path
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    if known is not None and _is_open(known[2], known[1]):
        os.close(known[2])
    _sealed[path] = (identity, _identity(os.fstat(copy)), copy)
    return f"/proc/self/fd/{copy}"


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_open(descriptor: int, identity: tuple[int, ...]) -> bool:
    """False when the program closed it under our feet, as one does that becomes a daemon; its number may be another's by now."""
    try:
        return _identity(os.fstat(descriptor)) == identity
    except OSError:
        return False


def _sealed_copy(path: str, size: int) -> int:
    mfd_exec = 0x10  # Linux 6.3; EINVAL before
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        copy = os.memfd_create("estiba-init", flags | mfd_exec)
    except OSError as error:
        if error.errno != 22:  # EINVAL
            raise
        copy = os.memfd_create("estiba-init", flags)
    source = os.open(path, os.O_RDONLY)
    try:
        while size > 0:
            size -= os.sendfile(copy, source, None, size) or size
        os.fchmod(copy, 0o500)
    finally:
        os.close(source)
    return copy


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
    if mode == "run":
        path = sealed_helper(path)
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate((stdin, stdout, stderr)) if source is not None]
    return os.posix_spawn(path, ["estiba-init", mode, str(plan)], ENVIRONMENT, file_actions=actions)
