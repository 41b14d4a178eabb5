"""Options of a container's life: when it is started again. On the start path of ``run``."""

from __future__ import annotations

from estiba.errors import InvalidArgument, NotImplemented
from estiba.runtime.options import HealthOptions
from estiba.runtime.parse_values import choice, decimal, refuse, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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


_UNITS = {"ns": 1, "us": 10**3, "\u00b5s": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def duration(flag: str, text: str) -> int:
    """Nanoseconds of a length of time as Go writes it: 1m30s, 1.5h, 500ms, 0."""
    total, rest = 0, "" if text == "0" else text
    if not text:
        raise refuse(flag, text, "not a length of time", hint="for example 30s or 1m30s")
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nu\u00b5msh"))]
        rest = rest[len(unit) :]
        if unit not in _UNITS or not number:
            raise refuse(flag, text, "not a length of time", hint="for example 30s or 1m30s")
        total += decimal(flag, number, 9) * _UNITS[unit] // 10**9
    return total


def _health(options: RunOptions) -> HealthOptions:
    if options.health is None:
        options.health = HealthOptions()
    return options.health


def _health_time(attribute: str) -> Callable[[RunOptions, str], None]:
    flag = "--health-" + attribute.replace("_", "-")

    def store(options: RunOptions, text: str) -> None:
        nanoseconds = duration(flag, text)
        if 0 < nanoseconds < _UNITS["ms"]:
            raise refuse(flag, text, "at least 1ms, or 0 for the default")
        setattr(_health(options), attribute, nanoseconds)

    return store


def _health_command(options: RunOptions, text: str) -> None:
    _health(options).command = text


def _health_retries(options: RunOptions, text: str) -> None:
    _health(options).retries = whole("--health-retries", text, 0, 1 << 31)


def no_healthcheck(options: RunOptions) -> None:
    """--no-healthcheck: not even the image's."""
    _health(options).off = True


#: The flags of health checks that take a value.
HEALTH: dict[str, Callable[[RunOptions, str], None]] = {
    "health-cmd": _health_command,
    "health-interval": _health_time("interval"),
    "health-retries": _health_retries,
    "health-start-interval": _health_time("start_interval"),
    "health-start-period": _health_time("start_period"),
    "health-timeout": _health_time("timeout"),
}


def check(options: RunOptions) -> None:
    """Refuses options that exclude each other. Raises InvalidArgument."""
    if options.rm and options.restart != "no":
        raise InvalidArgument("cannot use --restart with --rm: a container that goes with its run is not there to start again")
    health = options.health
    if health is not None and health.off and (health.command is not None or health.interval or health.timeout or health.retries):
        raise InvalidArgument("cannot use --no-healthcheck with --health-* flags: one switches off what the others set")
    if options.attach and options.detach:
        raise InvalidArgument("cannot use --attach with --detach: one shows the streams, the other leaves them")
