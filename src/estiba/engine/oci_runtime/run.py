"""`run`: create and start in one, and with the caller as the program's parent unless it is detached."""

from __future__ import annotations

import os

from estiba.engine.oci_runtime.create import CreateOptions, create
from estiba.engine.oci_runtime.delete import delete
from estiba.engine.oci_runtime.start import start
from estiba.errors import OnFailure
from estiba.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.plan.helper import HelperSettings

_PR_SET_CHILD_SUBREAPER = 36
# What says something about this process itself (signal(7)), or is its own way to copy a terminal.
_FAULTS = (signals.SIGSEGV, signals.SIGBUS, signals.SIGILL, signals.SIGFPE)
_OWN = {signals.SIGCHLD, signals.SIGKILL, signals.SIGSTOP, signals.SIGWINCH, *_FAULTS}


def run(settings: HelperSettings, root: str, name: str, folder: str, options: CreateOptions, *, detach: bool, keep: bool) -> int:
    """Runs container `name` of the bundle in `folder` and returns the program's exit code, 128 and the signal where one ended it; 0 at once
    with `detach`. With `keep` the stopped container stays. Raises what `create` and `start` raise.
    """
    if detach:
        create(settings, root, name, folder, options)
        _start(root, name)
        return 0
    become_subreaper()
    masters: list[int] = []
    if not options.console_socket:
        options.terminal = masters.append
    state = create(settings, root, name, folder, options)
    try:
        forward_signals(state.pid)
        _start(root, name)
        code = wait_for(state.pid, masters)
    finally:
        if not keep:
            delete(root, name, force=True)
    return code


def _start(root: str, name: str) -> None:
    with OnFailure(delete, root, name, force=True):
        start(root, name)


def become_subreaper() -> None:
    """Makes this process the parent of what its descendants leave behind (prctl(2))."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def wait_for(pid: int, masters: list[int]) -> int:
    """Waits for a child, copying its pseudo-terminal where there is one. Returns its exit code."""
    if masters:
        from estiba.engine.oci_runtime.terminal import copy_terminal

        copy_terminal(masters[0])
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def forward_signals(pid: int) -> None:
    """From now on what this process is told, its child `pid` is told; when that has ended and was waited for, nobody is."""
    program = os.pidfd_open(pid)

    def forward(number: int, _frame: object) -> None:
        try:
            signals.pidfd_send_signal(program, number)
        except ProcessLookupError:
            return

    for number in signals.valid_signals() - _OWN:
        if signals.getsignal(number) is not signals.SIG_IGN:
            signals.signal(number, forward)
