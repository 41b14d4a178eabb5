"""`run --rm --network none alpine true`, against every engine and bare runtime here."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.engines import IMAGE, bare_runtimes, image_engines, why_not
from bench.measure import compare
from bench.report import Result, times
from bench.roots import alpine_tar

if TYPE_CHECKING:
    from pathlib import Path


def measure(folder: Path, runs: int) -> Result:
    tar = alpine_tar(folder)
    rootfs = folder / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "--numeric-owner", "-C", str(rootfs), "-xf", str(tar)], check=True)
    with ExitStack() as stack:
        engines = list(image_engines(folder, stack))
        for engine in engines:
            engine.import_tar(tar, IMAGE)
        bare = list(bare_runtimes(folder, rootfs))
        jobs = {engine.name: engine.run_true() for engine in engines} | {runtime.name: runtime.run_true() for runtime in bare}
        unable = {name: reason for name, job in jobs.items() if name != "estiba" and (reason := why_not(job))}
        jobs = {name: job for name, job in jobs.items() if name not in unable}
        versions = {engine.name: engine.version() for engine in engines} | {
            runtime.name: f"{runtime.version()}, unpacked bundle" for runtime in bare
        }
        result = times("Start: `run --rm --network none alpine true`", compare(jobs, runs=runs), versions)
    result.rows += [[versions[name], f"cannot run here: {reason}", "", ""] for name, reason in unable.items()]
    medians = {name: sample["median_ms"] for name, sample in result.data.items() if isinstance(sample, dict)}
    mine = medians["estiba"]
    if "docker" in medians:
        result.claims.append(("at most 1/6 of docker's time", mine * 6 <= medians["docker"]))
    if "runc" in medians:
        result.claims.append(("no slower than runc on an unpacked bundle", mine <= medians["runc"]))
    return result
