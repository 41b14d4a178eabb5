"""`exec` as a child of this process: for the library, and for health checks, which give a program some time and read what it writes."""

from __future__ import annotations

from collections.abc import Callable

from estiba.config.settings import Settings
from estiba.engine import child
from estiba.engine.containers import Container
from estiba.engine.exec import prepare
from estiba.runtime.launch import Launch
from estiba.runtime.options import RunOptions


def spawn(
    settings: Settings, container: Container, options: RunOptions, *, stdin: int | None = None, stdout: int | None = None,
    stderr: int | None = None, tell: bool = True,
) -> child.Running:  # fmt: skip
    """Runs `options.command` in the container (as `exec.exec_`); streams that are not given are this process's own.

    Raises Conflict when the container does not run.
    """
    return child.start(_launch(settings, container, options, tell=tell), stdin, stdout, stderr)


def _launch(settings: Settings, container: Container, options: RunOptions, *, tell: bool) -> Callable[[int, int], Launch]:
    return lambda status, report: prepare(settings, container, options, status=status, report=report, tell=tell)


def capture(
    settings: Settings,
    container: Container,
    options: RunOptions,
    *,
    timeout: float | None = None,
    limit: int = 1 << 20,
    tell: bool = True,
) -> tuple[int | None, bytes]:
    """Runs `options.command` without input and returns its exit code and what it wrote to both streams, as it came.

    After `timeout` seconds it is killed, and the code is None. Of the output the first `limit` bytes are kept. Without `tell`
    no events are made of it.
    Raises as `spawn` and `child.Running.wait`.
    """
    return child.collect(_launch(settings, container, options, tell=tell), timeout=timeout, limit=limit)
