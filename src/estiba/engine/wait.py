"""`wait`: until a container's run ends. On the start path."""

from __future__ import annotations

import os
import time

from estiba.engine import containers, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.engine.containers import Container
    from estiba.store.layout import Store

_PAUSE = 0.02


def wait(store: Store, name: str) -> int:
    """Waits until a container's run ends, and returns its exit code; that of the last one, or 0, where it does not run.

    One that its policy is about to start again runs, as in Docker, so the next end is waited for.
    Raises NotFound, Conflict (an ambiguous id).
    """
    container = containers.find(store, name)
    while container.status == "restarting":
        time.sleep(_PAUSE)
        container = containers.find(store, container.id)
    if not container.pid:
        return container.exit_code or 0
    code = _end_of(container)
    return status.UNKNOWN_CODE if code is None else code


def _end_of(container: Container) -> int | None:
    """Waits for the end of the run that is going on; None when nobody wrote how it ended."""
    mark = f"running {container.pid} {container.pid_started} "
    descriptor = os.open(f"{container.folder}/status", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status.wait_for_end(descriptor)
        # The folder of a --rm container may be gone by now; the file is still open. Another run may have begun.
        lines = os.pread(descriptor, 1 << 20, 0).decode("utf-8", "replace").splitlines()
    finally:
        os.close(descriptor)
    begin = next((number for number, line in enumerate(lines) if line.startswith(mark)), 0)
    codes = [line.split(" ")[1] for line in lines[begin:] if line.startswith("exited ")]
    return int(codes[0]) if codes else None
