"""Health checks: what is checked, how the results add up, and the container's file `health`. On the start path of `ps`.

state.json's member ``health`` is Docker's ``Config.Healthcheck`` (Test, and times in nanoseconds, where 0 means the default), and `shell`
for a line of ``CMD-SHELL``. The file is JSON, replaced after each check by the supervisor: ``run`` (pid and start time of the program that
was checked), ``status``, ``streak`` of failures, ``log`` (the last five results as ``State.Health.Log`` has them).
"""

from __future__ import annotations

import os

from estiba.errors import DataLoss, InvalidArgument
from estiba.oci.strict_json import as_dict, dumps, get_int, get_list, get_str, get_str_list, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiba.engine.containers import Container
    from estiba.oci.image_config import ImageConfig
    from estiba.runtime.options import RunOptions

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
LOG_ENTRIES = 5
#: Docker's defaults (docs.docker.com, HEALTHCHECK), in seconds.
_DEFAULTS = {"Interval": 30.0, "Timeout": 30.0, "StartPeriod": 0.0, "StartInterval": 5.0}
_RETRIES = 3
_SHELL = ["/bin/sh", "-c"]


def wanted(options: RunOptions, config: ImageConfig) -> dict[str, object]:
    """The member `health` of a new container: the caller's wishes, and the image's for what he does not say.

    Raises InvalidArgument for a `HEALTHCHECK` of an unknown kind.
    """
    asked, image = options.health, config.healthcheck
    if asked is not None and asked.off:
        return {"Test": ["NONE"]}
    test = list(image.test) if image is not None else []
    if asked is not None and asked.command is not None:
        test = ["CMD-SHELL", asked.command] if asked.command else []
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f"cannot check the health of {options.image}: unknown kind of test {test[0][:60]!r}", hint="--no-healthcheck")
    found: dict[str, object] = {"Test": test} if test else {}
    for name, attribute in (
        ("Interval", "interval"), ("Timeout", "timeout"), ("StartPeriod", "start_period"), ("StartInterval", "start_interval"),
        ("Retries", "retries"),
    ):  # fmt: skip
        value = getattr(asked, attribute, 0) or getattr(image, attribute, 0)
        if value:
            found[name] = value
    if test[:1] == ["CMD-SHELL"]:
        found["shell"] = config.shell or _SHELL
    return found


def is_on(member: Mapping[str, object]) -> bool:
    """Tells whether there is something to check."""
    test = member.get("Test")
    return isinstance(test, list) and len(test) > 1 and test[0] != "NONE"


class Check:
    """What is done, and when. Attributes: `command`; `interval timeout start_period start_interval` in seconds; `retries`."""

    __slots__ = ("command", "interval", "retries", "start_interval", "start_period", "timeout")

    def __init__(self, member: dict[str, object], what: str) -> None:
        kind, *words = get_str_list(member, "Test", what)
        self.command = [*get_str_list(member, "shell", what, _SHELL), *words[:1]] if kind == "CMD-SHELL" else words
        times = {name: get_int(member, name, what, 0) / 1e9 or default for name, default in _DEFAULTS.items()}
        self.interval, self.timeout = times["Interval"], times["Timeout"]
        self.start_period, self.start_interval = times["StartPeriod"], times["StartInterval"]
        self.retries = get_int(member, "Retries", what, 0) or _RETRIES


class Health:
    """What the checks of one run have told: `status`, the `streak` of failures, the `log`; `run` names the run."""

    __slots__ = ("log", "run", "status", "streak")

    def __init__(self, run: str, log: list[dict[str, object]] | None = None) -> None:
        self.run = run
        self.status = STARTING
        self.streak = 0
        self.log = log or []

    def take(self, check: Check, result: dict[str, object], began: float) -> bool:
        """Adds the result of a check that began `began` seconds after the program; tells whether the status is another now.

        A failure in the start period does not count, unless a check has succeeded before.
        """
        before = self.status
        self.log = [*self.log, result][-LOG_ENTRIES:]
        if result["ExitCode"] == 0:
            self.status, self.streak = HEALTHY, 0
        elif self.status != STARTING or began >= check.start_period:
            self.streak += 1
            if self.streak >= check.retries:
                self.status = UNHEALTHY
        return self.status != before

    def pause(self, check: Check, elapsed: float) -> float:
        """Seconds until the next check, `elapsed` seconds after the program began."""
        return check.start_interval if self.status == STARTING and elapsed < check.start_period else check.interval

    def shown(self) -> dict[str, object]:
        """``State.Health`` of Docker's inspect."""
        return {"Status": self.status, "FailingStreak": self.streak, "Log": self.log}

    def write(self, folder: str) -> None:
        """Replaces the file. Raises FileNotFoundError when the container was removed."""
        path = f"{folder}/health"
        with open(f"{path}.new", "wb") as file:
            file.write(dumps({"run": self.run, "status": self.status, "streak": self.streak, "log": self.log}))
        os.rename(f"{path}.new", path)


def run_of(container: Container) -> str:
    """The name of the run that is going on."""
    return f"{container.pid} {container.pid_started}"


def kept(container: Container) -> Health:
    """What the file says of the run that is going on; a new beginning, with the log, when it is of another or cannot be read."""
    path = f"{container.folder}/health"
    health = Health(run_of(container))
    try:
        with open(path, "rb") as file:
            document = as_dict(loads(file.read(), what=path, raw_bytes=True), path)
        health.log = [as_dict(entry, path) for entry in get_list(document, "log", path, [])]
        if get_str(document, "run", path) == health.run:
            health.status, health.streak = get_str(document, "status", path), get_int(document, "streak", path)
    except (FileNotFoundError, NotADirectoryError, DataLoss):
        pass
    return health


def of(container: Container) -> Health | None:
    """A container's health, None where nothing is checked or it never ran. As in Docker, one that has ended is unhealthy."""
    if not is_on(container.check) or not container.ran:
        return None
    health = kept(container)
    if not container.pid:
        health.status = UNHEALTHY
    return health


def inspected(member: dict[str, Any]) -> dict[str, Any]:
    """``Config.Healthcheck`` of Docker's inspect."""
    return {"Healthcheck": {name: value for name, value in member.items() if name != "shell"}} if member else {}
