"""`commit` and `cp` against the other engines; and that a commit costs what was changed, not what the image holds."""

from __future__ import annotations

import io
import random
import shutil
import tarfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.engines import IMAGE, Engine, image_engines
from bench.measure import Job, compare
from bench.report import Result
from bench.roots import alpine_tar
from bench.scenarios.life import start

if TYPE_CHECKING:
    from pathlib import Path

LARGE = "bench/large"
CHANGED, ADDED, EACH = 300, 5_000, 32 << 10
FACTOR = 1.3
RUNS = 10
ROWS = {
    "commit": f"`commit` of {CHANGED} new files, {CHANGED * EACH / 1e6:.0f} MB, on Alpine",
    "commit large": f"the same on an image of {ADDED:,} files and {ADDED * EACH / 1e6:.0f} MB more",
    "cp in": "`cp` of these files into a container",
    "cp out": "`cp` of them out of it",
}


def large_tar(folder: Path, alpine: Path) -> Path:
    noise = random.Random(1).randbytes(2 * EACH)
    with tarfile.open(alpine) as source, tarfile.open(folder / "large.tar", "w") as archive:
        for member in source:
            archive.addfile(member, source.extractfile(member) if member.isreg() else None)
        for number in range(ADDED):
            member = tarfile.TarInfo(f"more/{number % 50}/{number}")
            member.size = EACH
            archive.addfile(member, io.BytesIO(noise[number : number + EACH]))
    return folder / "large.tar"


def tree(folder: Path) -> Path:
    made = folder / "tree"
    made.mkdir()
    for number in range(CHANGED):
        (made / str(number)).write_bytes(random.Random(number).randbytes(EACH))
    return made


def jobs_of(engine: Engine, files: Path, out: Path, stack: ExitStack) -> dict[str, Job]:
    for name, image in (("bench-small", IMAGE), ("bench-large", LARGE), ("bench-copies", IMAGE)):
        engine.call(*start(engine, "--name", name, image=image)[len(engine.words) :])
        stack.callback(engine.call, "rm", "--force", name)
        engine.call("cp", str(files), f"{name}:/changed")

    def job(*words: str, fresh: bool = False) -> Job:
        return Job([*engine.words, *words], engine.environment, (lambda: shutil.rmtree(out, ignore_errors=True)) if fresh else None)

    return {
        "commit": job("commit", "bench-small", "bench/one"),
        "commit large": job("commit", "bench-large", "bench/two"),
        "cp in": job("cp", f"{files}/.", "bench-copies:/in"),
        "cp out": job("cp", "bench-copies:/changed", str(out), fresh=True),
    }


def measure(folder: Path, runs: int) -> Result:
    alpine = alpine_tar(folder)
    large, files = large_tar(folder, alpine), tree(folder)
    jobs = {}
    with ExitStack() as stack:
        engines = list(image_engines(folder, stack))
        for engine in engines:
            engine.import_tar(alpine, IMAGE)
            engine.import_tar(large, LARGE)
            for row, job in jobs_of(engine, files, folder / f"out-{engine.name}", stack).items():
                jobs[f"{row} {engine.name}"] = job
        samples = compare(jobs, runs=min(runs, RUNS), warm_up=1)
    names = [engine.name for engine in engines]
    result = Result("Files of containers: the fastest of each, and medians", ["", *names])
    for row, text in ROWS.items():
        found = [samples[f"{row} {name}"] for name in names]
        result.rows.append([text, *(f"{sample.fastest:.0f} ms ({sample.median:.0f})" for sample in found)])
    result.data |= {key: sample.to_json() for key, sample in samples.items()}
    held = samples["commit large estiba"].fastest <= FACTOR * samples["commit estiba"].fastest
    result.claims.append((f"`commit` takes at most {FACTOR} times as long on the large image", held))
    if "docker" in names:
        # The journal of a disk that others write to decides about medians.
        slower = [row for row in ROWS if samples[f"{row} estiba"].fastest > samples[f"{row} docker"].fastest]
        result.claims.append(("`commit` and `cp` are no slower than docker's", not slower))
    return result
