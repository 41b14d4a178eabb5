"""The exception tree of estiba, named after containerd's error kinds.

    EstibaError
    ├── InvalidArgument      the caller's request is malformed            (usage: exit 125)
    │   └── NoCommand        an image without a command, and none given
    ├── NotFound             no such image, layer, container, file
    │   └── CommandNotFound  the program is not in the container          (exit 127)
    ├── CannotExecute        the program is there but cannot be executed  (exit 126)
    ├── AlreadyExists        a name or object that must be new is there
    ├── Conflict             the object is in use or in another state
    ├── Unauthenticated      credentials are missing or refused
    ├── PermissionDenied     the host or the registry does not allow it
    ├── FailedPrecondition   the machine lacks what the request needs
    ├── Unavailable          a registry or service cannot be reached
    ├── ResourceExhausted    a budget, limit or disk is full
    ├── DataLoss             content is damaged or is not what its digest says
    ├── NotImplemented       understood, but not offered (yet)
    ├── Cancelled            the user interrupted
    └── LaunchFailed         the helper could not start the container     (exit 125)

A message reads ``cannot <verb> <object>: <cause>``; `hint`, where there is one, says what to do about it.
This module is on the start path of ``run``: it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import ParamSpec

    _Of = ParamSpec("_Of")


class EstibaError(Exception):
    """Base of every error that estiba raises on purpose.

    Parameters: `message`, one line without a trailing period; `hint`, one line, what the user can do.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidArgument(EstibaError):
    """The request is malformed."""

    exit_code = 125


class NoCommand(InvalidArgument):
    """Neither the image nor the caller names a program."""


class NotFound(EstibaError):
    """The object does not exist."""


class CommandNotFound(NotFound):
    """The program does not exist in the container."""

    exit_code = 127


class CannotExecute(EstibaError):
    """The program exists in the container but cannot be executed."""

    exit_code = 126


class AlreadyExists(EstibaError):
    """An object that must be new exists."""


class Conflict(EstibaError):
    """The object is in use, or in a state that does not allow the operation."""


class Unauthenticated(EstibaError):
    """Credentials are missing or were refused."""


class PermissionDenied(EstibaError):
    """The host or the registry does not allow the operation."""


class FailedPrecondition(EstibaError):
    """The machine lacks something that the request needs."""


class Unavailable(EstibaError):
    """A registry or service cannot be reached, or does not answer as it should."""


class ResourceExhausted(EstibaError):
    """A budget, a limit or the disk is exhausted."""


class DataLoss(EstibaError):
    """Content is damaged, or is not what its digest says."""


class NotImplemented(EstibaError):
    """The request is understood but not offered."""


class Cancelled(EstibaError):
    """The user interrupted the operation."""

    exit_code = 130


class LaunchFailed(EstibaError):
    """The helper could not start the container."""

    exit_code = 125


class OnFailure:
    """A context that undoes what was begun, by a call of `undo` with the rest, when an error or an interrupt ends it."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[_Of, object], *arguments: _Of.args, **named: _Of.kwargs) -> None:
        def call() -> None:
            undo(*arguments, **named)

        self._undo = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._undo()
