"""The checks of a running container, carried out by its supervisor one after the other, until it ends."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from estiba.config.settings import Settings
from estiba.engine import event_log, health, status
from estiba.engine.containers import Container
from estiba.engine.exec_child import capture
from estiba.engine.health import Check
from estiba.engine.stop import ends
from estiba.errors import EstibaError
from estiba.runtime.options import RunOptions

_LAUNCH_PAUSE_SECONDS = 0.02
#: Bytes of a check's output that are kept, as in Docker.
_OUTPUT = 4096
#: The exit code of a check that could not be executed or took too long.
_NO_CODE = -1


def watch(settings: Settings, container: Container) -> None:
    """Checks a container that is about to run or runs, and returns when its program has ended, or was never executed."""
    path = f"{container.folder}/status"
    while not container.pid:
        if not status.is_held(path):
            return
        time.sleep(_LAUNCH_PAUSE_SECONDS)
        container.refresh()
    descriptor = container.pidfd()
    if descriptor is None:
        return
    check = Check(container.check, f"{container.folder}/state.json")
    begun = time.monotonic() - max(0.0, time.time() - container.started / 1e9)
    state = health.kept(container)
    state.write(container.folder)
    while not ends(descriptor, state.pause(check, time.monotonic() - begun)):
        container.refresh()
        if container.status == "paused":
            continue
        began = time.monotonic() - begun
        result = _probe(settings, container, check)
        if ends(descriptor, 0):
            return  # it was cut off, and says nothing about the container
        changed = state.take(check, result, began)
        state.write(container.folder)
        if changed:
            event_log.container(container, f"health_status: {state.status}")


def _probe(settings: Settings, container: Container, check: Check) -> dict[str, object]:
    options = RunOptions(command=check.command)
    start = _now()
    try:
        code, output = capture(settings, container, options, timeout=check.timeout, limit=_OUTPUT + 1, tell=False)
    except EstibaError as error:
        code, text = _NO_CODE, error.message
    else:
        text = output[:_OUTPUT].decode("utf-8", "replace") + ("..." if len(output) > _OUTPUT else "")
        if code is None:
            text = f"Health check exceeded timeout ({_go(check.timeout)})" + (f": {text}" if text else "")
            code = _NO_CODE
    return {"Start": start, "End": _now(), "ExitCode": code, "Output": text}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _go(seconds: float) -> str:
    """A length of time as Go writes it: 1m30s, 500ms."""
    if seconds < 1:
        return f"{seconds * 1000:.6g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:.9g}s"
