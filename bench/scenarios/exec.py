"""`exec CONTAINER true` in a container that runs, against every engine here."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.engines import IMAGE, image_engines, why_not
from bench.measure import Job, compare
from bench.report import Result, times
from bench.roots import alpine_tar

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "bench-exec"


def measure(folder: Path, runs: int) -> Result:
    tar = alpine_tar(folder)
    jobs, unable = {}, {}
    with ExitStack() as stack:
        engines = list(image_engines(folder, stack))
        for engine in engines:
            engine.import_tar(tar, IMAGE)
            *words, _ = engine.run_true().command
            words.remove("--rm")
            start = Job([*words[:-1], "--detach", "--name", _NAME, words[-1], "sleep", "10000"], engine.environment)
            reason = why_not(start)
            if reason:
                unable[engine.name] = reason
                continue
            stack.callback(engine.call, "rm", "--force", _NAME)
            jobs[engine.name] = Job([*engine.words, "exec", _NAME, "true"], engine.environment)
        versions = {engine.name: engine.version() for engine in engines}
        result = times("`exec CONTAINER true`", compare(jobs, runs=runs), versions)
    result.rows += [[versions[name], f"cannot run here: {reason}", "", ""] for name, reason in unable.items()]
    medians = {name: sample["median_ms"] for name, sample in result.data.items() if isinstance(sample, dict)}
    if "docker" in medians:
        result.claims.append(("at most 1/2 of docker's time", medians["estiba"] * 2 <= medians["docker"]))
    return result
