"""What verbs with several containers share: each is tried, the name is printed as Docker does, failures are told at the end."""

from __future__ import annotations

from estiba.cli import output
from estiba.engine.sweep import sweep
from estiba.errors import EstibaError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from estiba.cli.context import Context

    Given = TypeVar("Given")
    Begun = TypeVar("Begun")


def each(context: Context, names: Sequence[str], act: Callable[[str], object]) -> int:
    """Takes back what crashes left, then calls `act` with every name; the exit code is that of the worst failure, 0 for none."""
    sweep(context.store, context.settings)
    failures: list[EstibaError] = []
    for name in names:
        result = _tried(act, name, failures)
        if result is not _FAILED:
            output.lines([name if not isinstance(result, int) or isinstance(result, bool) else str(result)])
    return output.failures(failures)


def together(context: Context, names: Sequence[str], begin: Callable[[str], Begun | None], finish: Callable[[Begun], object]) -> int:
    """As `each`, in two steps: all are begun with before the first is waited for, so that their programs take their time at once.

    Of one for which `begin` returns None nothing is done and nothing printed.
    """
    sweep(context.store, context.settings)
    failures: list[EstibaError] = []
    begun = [(name, result) for name in names if (result := _tried(begin, name, failures)) is not _FAILED and result is not None]
    for name, result in begun:
        if _tried(finish, result, failures) is not _FAILED:
            output.lines([name])
    return output.failures(failures)


def each_says(names: Sequence[str], act: Callable[[str], Iterable[str]]) -> int:
    """Calls `act` with every name and prints the lines that it returns; the exit code is that of the worst failure, 0 for none."""
    failures: list[EstibaError] = []
    for name in names:
        lines = _tried(act, name, failures)
        if lines is not _FAILED:
            output.lines(lines)
    return output.failures(failures)


_FAILED: Any = object()


def _tried(act: Callable[[Given], Begun], given: Given, failures: list[EstibaError]) -> Begun:
    try:
        return act(given)
    except EstibaError as error:
        failures.append(error)
    return _FAILED  # type: ignore[no-any-return]  # of any type


def seconds(text: str, flag: str) -> int | None:
    """The value of a flag in whole seconds, -1 for ever; None when it is not given. Raises InvalidArgument."""
    if not text:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10) or (text[0] == "-" and text != "-1"):
        raise InvalidArgument(f"cannot use --{flag} {text!r}: it is not a number of seconds, nor -1")
    return int(text)


def signal_option(text: str) -> int | None:
    """The number of a signal's name; None when it is not given. Raises InvalidArgument."""
    if not text:
        return None
    from estiba.runtime.parse_options import signal_number

    return signal_number(text, "--signal")
