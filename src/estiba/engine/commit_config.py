"""The configuration of an image that `commit` makes: that of the container's image, with what the container was started with, and --change.

As Docker's (moby, daemon/commit.go `merge`): variables, ports, labels and volumes are joined; an ENTRYPOINT in --change drops the command.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from estiba.engine.changes import apply_changes
from estiba.engine.containers import Container
from estiba.oci.image_config import ImageConfig
from estiba.runtime.spec import STOP_SIGNAL, USER

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def committed(container: Container, image: ImageConfig, section: dict[str, Any], changes: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The `config` object of the new image, and the command of the container for its history.

    Parameters: `image` and its `config` object `section`. Raises InvalidArgument for a change that is not allowed.
    """
    spec: dict[str, Any] = container.spec()
    process, annotations = spec["process"], spec["annotations"]
    config = dict(section)
    _put(config, "Env", _environment(process["env"], image, spec))
    command = container.command[container.entrypoint :]
    _put(config, "Entrypoint", container.command[: container.entrypoint])
    _put(config, "Cmd", command)
    user = annotations[USER]
    if user != (image.user or "0"):
        config["User"] = user
    if process["cwd"] != (image.working_dir or "/"):
        config["WorkingDir"] = process["cwd"]
    _put(config, "Labels", container.labels)
    own = [str(volume["target"]) for volume in container.volumes if str(volume["source"]).startswith(container.folder + "/")]
    _put(config, "Volumes", {**(config.get("Volumes") or {}), **{target: {} for target in own}})
    _put_stop_signal(config, int(annotations[STOP_SIGNAL]))
    apply_changes(config, changes)
    names = {change.strip().partition(" ")[0].upper() for change in changes}
    if "ENTRYPOINT" in names and "CMD" not in names:
        config.pop("Cmd", None)
    return config, " ".join(command)


def _put(config: dict[str, Any], key: str, value: object) -> None:
    """An empty value is left out, as in Docker's JSON."""
    if value:
        config[key] = value
    else:
        config.pop(key, None)


def _environment(env: Sequence[str], image: ImageConfig, spec: dict[str, Any]) -> list[str]:
    """The variables but for those that every container gets."""
    given = {f"HOSTNAME={spec.get('hostname', '')}", _PATH} | ({"TERM=xterm"} if spec["process"]["terminal"] else set())
    return [entry for entry in env if entry in image.env or entry not in given]


def _put_stop_signal(config: dict[str, Any], number: int) -> None:
    known = str(config.get("StopSignal") or "SIGTERM")
    names = {name: int(each) for name, each in signal.Signals.__members__.items()}
    current = int(known) if known.isascii() and known.isdigit() else names.get(known if known.startswith("SIG") else "SIG" + known)
    if current != number:
        config["StopSignal"] = next((name for name, each in names.items() if each == number), str(number))
