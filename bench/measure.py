"""Times whole commands: spawned, waited for, repeated in turn so that a slow minute hits every engine alike."""

from __future__ import annotations

import os
import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Sample:
    """Durations of one command in milliseconds."""

    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def fastest(self) -> float:
        return min(self.milliseconds)

    def to_json(self) -> dict[str, float | int]:
        return {
            "median_ms": round(self.median, 2),
            "min_ms": round(self.fastest, 2),
            "max_ms": round(max(self.milliseconds), 2),
            "runs": len(self.milliseconds),
        }


@dataclass(frozen=True)
class Job:
    """A command to time; `prepare` runs before each time and is not counted."""

    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    prepare: Callable[[], None] | None = None


class CommandFailed(Exception):
    """The command that should be timed does not work."""


def once(job: Job) -> float:
    """Milliseconds of one run, standard streams on /dev/null. Raises CommandFailed unless the command exits with 0."""
    if job.prepare is not None:
        job.prepare()
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in (0, 1, 2)]
    environment = dict(os.environ) if job.environment is None else dict(job.environment)
    begun = time.perf_counter_ns()
    pid = os.posix_spawnp(job.command[0], list(job.command), environment, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    ended = time.perf_counter_ns()
    os.close(null)
    if status != 0:
        raise CommandFailed(f"{' '.join(job.command)}: status {os.waitstatus_to_exitcode(status)}")
    return (ended - begun) / 1e6


def compare(jobs: Mapping[str, Job], *, runs: int, warm_up: int = 2) -> dict[str, Sample]:
    """Times all jobs `runs` times in rounds, each round in another order."""
    for job in jobs.values():
        for _ in range(warm_up):
            once(job)
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(runs):
        for name in random.sample(list(jobs), len(jobs)):
            taken[name].append(once(jobs[name]))
    return {name: Sample(tuple(values)) for name, values in taken.items()}
