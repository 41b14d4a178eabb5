"""--explain: the waterfall of one start, measured. --dry-run: the OCI spec and the plan, with nothing made."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from estiba.engine.create import create
from estiba.engine.launching import prepare, wait
from estiba.engine.selection import select
from estiba.engine.sweep import sweep
from estiba.linux.process import start_time
from estiba.oci.strict_json import dumps
from estiba.plan.encode import describe

if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.launching import Created
    from estiba.engine.missing_image import ProgressMaker
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store

_WIDTH = 40


def description(created: Created) -> str:
    """Returns the spec as JSON and the plan as one line for each operation."""
    plan = "".join(f"{describe(op)}\n" for op in created.plan)
    return dumps(created.spec, indent=2).decode("utf-8", "surrogateescape") + "\n" + plan


def explain(store: Store, settings: Settings, options: RunOptions, progress: ProgressMaker | None) -> int:
    """Runs the container and prints the steps with their milliseconds to standard error; returns its exit code."""
    steps: list[tuple[str, int]] = [("start of Python", process_start())]
    with store.using():
        steps.append(("resolve", time.monotonic_ns()))
        stack, reason = select(store, settings, options, progress)
        steps.append(("sweep", time.monotonic_ns()))
        sweep(store, settings)
        steps.append(("spec, folder, plan", time.monotonic_ns()))
        created = create(store, settings, options, stack, reason)
        trace = os.memfd_create("estiba-trace", os.MFD_CLOEXEC)
        created.bindings.trace = created.bindings.add(trace)
        created.plan = created.binder.plan()
    steps.append(("spawn the helper", time.monotonic_ns()))
    copy = os.dup(trace)
    code = wait(settings, created, prepare(store, settings, options, created))
    end = time.monotonic_ns()
    with os.fdopen(copy, "rb") as file:
        file.seek(0)
        steps += parse_trace(file.read())
    if created.reason:
        sys.stderr.write(f"{created.reason}\n")
    sys.stderr.write(waterfall(steps, end))
    return code


def process_start() -> int:
    """Returns when this process began, on CLOCK_MONOTONIC (proc_pid_stat(5) counts in ticks of the boot clock)."""
    ticks = int(start_time(os.getpid()))
    since_boot = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return since_boot - time.clock_gettime_ns(time.CLOCK_BOOTTIME) + time.monotonic_ns()


#: The helper's steps as the phases that a reader knows; a step that is not named here stands for itself.
_PHASES = {
    **dict.fromkeys(("plan",), "helper reads the plan"),
    **dict.fromkeys(("clone", "maps", "go", "child"), "namespaces, id maps, cgroup"),
    **dict.fromkeys(("overlay", "root"), "layers: overlay"),
    **dict.fromkeys(("mount", "bind", "host_bind", "directory", "symlink", "file", "console"), "mounts: /proc /dev /sys ..."),
    **dict.fromkeys(("hostname", "domainname", "loopback", "sysctl"), "names, loopback, sysctls"),
    **dict.fromkeys(("mask", "readonly", "pivot"), "masked paths, pivot"),
    **dict.fromkeys(
        ("rlimit", "oom_score_adj", "working_directory", "bounding", "user", "capabilities", "no_new_privileges", "seccomp"),
        "limits, filter, user",
    ),
    **dict.fromkeys(("machine",), "the guest's kernel boots"),
    **dict.fromkeys(("guest",), "the guest makes its container"),
    **dict.fromkeys(("execute",), "exec"),
    **dict.fromkeys(("executed", "started"), "the program"),
    **dict.fromkeys(("report", "exited"), "exit status, clean-up"),
}


def phases(steps: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Joins steps that follow one another and belong to one phase; each begins when its first step does."""
    joined: list[tuple[str, int]] = []
    for name, begin in sorted(steps, key=lambda step: step[1]):
        phase = _PHASES.get(name, name)
        if not joined or joined[-1][0] != phase:
            joined.append((phase, begin))
    return joined


def parse_trace(data: bytes) -> list[tuple[str, int]]:
    """Reads the helper's lines ``name nanoseconds``."""
    lines = [line.rsplit(" ", 1) for line in data.decode("utf-8", "replace").splitlines()]
    return [(name, int(moment)) for name, moment in lines]


def waterfall(steps: list[tuple[str, int]], end: int) -> str:
    """Draws each step from its beginning to the beginning of the next one."""
    ordered = phases(steps)
    first = ordered[0][1]
    total = max(end - first, 1)
    lines = []
    for index, (name, begin) in enumerate(ordered):
        finish = ordered[index + 1][1] if index + 1 < len(ordered) else end
        left = (begin - first) * _WIDTH // total
        length = max(1, (finish - begin) * _WIDTH // total)
        lines.append(f"{name:<28} {(begin - first) / 1e6:9.3f} ms  {(finish - begin) / 1e6:8.3f} ms  {' ' * left}{'█' * length}\n")
    return "".join([*lines, f"{'total':<28} {'':9}     {total / 1e6:8.3f} ms\n"])
