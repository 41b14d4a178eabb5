"""Options of a container's life: when it is started again. On the start path of ``run``."""

from __future__ import annotations

from estiba.errors import InvalidArgument
from estiba.runtime.parse_values import choice, refuse, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.runtime.options import RunOptions

_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_MOST_ATTEMPTS = 1 << 31


def restart(options: RunOptions, text: str) -> None:
    """--restart no, always, unless-stopped, on-failure or on-failure:ATTEMPTS."""
    policy, separator, number = text.partition(":")
    word = choice("--restart", policy or "no", _POLICIES)
    if separator and word != "on-failure":
        raise refuse("--restart", text, "a number of attempts is for on-failure alone")
    options.restart = (
        "always" if word == "always" else "on-failure" if word == "on-failure" else "unless-stopped" if word == "unless-stopped" else "no"
    )
    options.restart_maximum = whole("--restart", number, 0, _MOST_ATTEMPTS, shown=text) if separator else 0


def check(options: RunOptions) -> None:
    """Refuses options that exclude each other. Raises InvalidArgument."""
    if options.rm and options.restart != "no":
        raise InvalidArgument("cannot use --restart with --rm: a container that goes with its run is not there to start again")
