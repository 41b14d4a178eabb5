"""`stats`: what containers use, in Docker's fields."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from estiba.config.settings import Settings
from estiba.engine import containers, records
from estiba.engine.containers import Container
from estiba.engine.entering import check_enters
from estiba.engine.words import binary_size, human_size
from estiba.errors import Conflict, FailedPrecondition, LaunchFailed, NotFound
from estiba.linux.cgroup_usage import Usage, network, usage
from estiba.linux.process import start_time
from estiba.machine.usage import GUEST_FILES, guest_usage
from estiba.store.layout import Store

_FIRST_SECONDS, _SECONDS = 0.3, 1.0
_UNKNOWN = "--"


class Sample:
    """The figures of a container at one moment. One that does not run has used nothing."""

    __slots__ = ("container", "network", "taken", "usage")

    def __init__(self, settings: Settings, container: Container) -> None:
        self.container = container
        record = records.read(settings, container.id) if container.pid else None
        self.usage = _guests(settings, container) if container.kernel and container.pid else usage(record.cgroups if record else ())
        self.taken = time.monotonic_ns()
        own = container.options.get("network") != "host"  # the host's figures are not the container's
        counted = network(container.pid) if container.pid and own else (0, 0)
        self.network = counted if container.pid == 0 or start_time(container.pid) == container.pid_started else (0, 0)


def _guests(settings: Settings, container: Container) -> Usage:
    """What the kernel of a container's own counts; nothing while it is paused, about to end, or does not answer."""
    from estiba.engine.machine_exec import read_files

    try:
        check_enters(container, "ask the machine of")
        return guest_usage(read_files(settings, container, GUEST_FILES))
    except (Conflict, FailedPrecondition, LaunchFailed):
        return Usage()


class Row:
    """One container, which was `asked` for by a name or not; upper-case attributes are the fields of --format.

    Figures that nothing counts here are shown as `--`; `before` is an earlier sample of the same run.
    """

    def __init__(self, asked: str, now: Sample, before: Sample | None, total: int, *, full: bool) -> None:
        container, used = now.container, now.usage
        self.Name = container.name
        self.ID = container.id if full else container.id[:12]
        self.Container = asked or self.ID
        if not container.pid:
            used = _nothing()
        limit = min(used.limit or total, total) if container.pid else 0
        self.CPUPerc = _percent(_processor(now, before) if container.pid else 0.0)
        self.MemUsage = f"{_size(used.memory)} / {binary_size(limit)}"
        self.MemPerc = _percent(None if used.memory is None else used.memory / limit if limit else 0.0)
        self.NetIO = _UNKNOWN if now.network is None else " / ".join(human_size(count) for count in now.network)
        self.BlockIO = " / ".join(_UNKNOWN if count is None else human_size(count) for count in (used.read, used.written))
        self.PIDs = _UNKNOWN if used.pids is None else str(used.pids)


def _nothing() -> Usage:
    used = Usage()
    used.cpu = used.memory = used.pids = used.read = used.written = 0
    return used


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else binary_size(count)


def _percent(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{share * 100:.2f}%"


def _processor(now: Sample, before: Sample | None) -> float | None:
    """Processors in use: 1 is all of one, as Docker counts."""
    if before is None or now.usage.cpu is None or before.usage.cpu is None or before.container.pid_started != now.container.pid_started:
        return None
    return max(now.usage.cpu - before.usage.cpu, 0) / max(now.taken - before.taken, 1)


def stats(
    store: Store, settings: Settings, names: Sequence[str] = (), *, every: bool = False, full: bool = False, once: bool = False
) -> Iterator[list[Row]]:
    """Yields what containers use, again and again, or `once`; a share of the processors is that of the time since the last.

    Parameters: `names`, else those that run, or with `every` all; `full`, ids are not cut short.
    Raises NotFound, Conflict (an ambiguous id), DataLoss.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    chosen = {containers.find(store, name).id: name for name in names}
    before = {sample.container.id: sample for sample in _samples(store, settings, chosen, every=every)}
    pause = _FIRST_SECONDS
    while True:
        time.sleep(pause)
        now = _samples(store, settings, chosen, every=every)
        if chosen and not now:
            raise NotFound(f"cannot show container {next(iter(chosen.values()))!r}: it has just been removed")
        yield [Row(chosen.get(each.container.id, ""), each, before.get(each.container.id), total, full=full) for each in now]
        if once:
            return
        before = {sample.container.id: sample for sample in now}
        pause = _SECONDS


def _samples(store: Store, settings: Settings, chosen: dict[str, str], *, every: bool) -> list[Sample]:
    if chosen:
        found = [container for container_id in chosen if (container := containers.read(store, container_id)) is not None]
    else:
        found = (containers.list_containers if every else containers.list_running)(store, [])
        found.reverse()
    return [Sample(settings, container) for container in found]
