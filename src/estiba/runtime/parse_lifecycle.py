"""Options of a container's life: when it is started again. On the start path of ``run``."""

from __future__ import annotations

from estiba.errors import InvalidArgument, NotImplemented
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


def attach(options: RunOptions, text: str) -> None:
    """-a stdin, stdout or stderr. As in Docker, -i alone attaches the input."""
    options.attach.append(choice("--attach", text.lower(), ("stdin", "stdout", "stderr")))


def runtime(_options: RunOptions, text: str) -> None:
    """--runtime estiba: there is no other."""
    if text not in ("", "estiba"):
        raise NotImplemented(f"cannot use --runtime {text}: estiba runs containers itself")


def volume_driver(_options: RunOptions, text: str) -> None:
    """--volume-driver local: there is no other."""
    if text not in ("", "local"):
        raise NotImplemented(f"cannot use --volume-driver {text}: there is no driver but local")


def check(options: RunOptions) -> None:
    """Refuses options that exclude each other. Raises InvalidArgument."""
    if options.rm and options.restart != "no":
        raise InvalidArgument("cannot use --restart with --rm: a container that goes with its run is not there to start again")
    if options.attach and options.detach:
        raise InvalidArgument("cannot use --attach with --detach: one shows the streams, the other leaves them")
