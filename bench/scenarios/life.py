"""Detached containers: `run -d` and `rm -f` against the other engines, what an idle one holds, and a thousand of them at once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engines import IMAGE, Engine, Estiba, Podman, estiba, image_engines
from bench.measure import Job, Sample, compare, once
from bench.report import Result
from bench.roots import alpine_tar
from bench.scenarios.memory import DOCKERS_SHARE, dockers_shims, proportional_kib
from estiba.linux.process import start_time
from tests.support.containers import PATIENCE_SECONDS, Remains

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "bench-life"
START_FACTOR = 6  # docker takes at least so many times as long
MANY, AT_ONCE = 1_000, 4
LIST_MS = 100
SETTLE_SECONDS = 2.0


def flags(engine: Engine) -> list[str]:
    """Those of `run`, from the one place that knows what podman needs here."""
    words = list(engine.run_true().command)
    return [word for word in words[words.index("run") + 1 : words.index(IMAGE)] if word != "--rm"]


def start(engine: Engine, *options: str, image: str = IMAGE) -> list[str]:
    return [*engine.words, "run", "-d", *flags(engine), *options, image, "sleep", "100000"]


def lives(engines: Sequence[Engine], runs: int) -> dict[str, tuple[Sample, Sample]]:
    """Milliseconds of `run -d` and of `rm -f`, in rounds."""
    taken: dict[str, tuple[list[float], list[float]]] = {engine.name: ([], []) for engine in engines}
    for number in range(runs + 2):
        for engine in random.sample(engines, len(engines)):
            begun = once(Job(start(engine, "--name", NAME), engine.environment))
            ended = once(Job([*engine.words, "rm", "-f", *(["-t", "0"] if isinstance(engine, Podman) else []), NAME], engine.environment))
            if number >= 2:  # the first ones warm up
                taken[engine.name][0].append(begun)
                taken[engine.name][1].append(ended)
    return {name: (Sample(tuple(begun)), Sample(tuple(ended))) for name, (begun, ended) in taken.items()}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_zombie(pid: int) -> bool:
    """Ended, and holding nothing but its number: it is init's to reap, which may be slow at it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def watchers(engine: Estiba, ids: Sequence[str]) -> list[int]:
    """Program, keeper and monitor of each container."""
    found = []
    for pid in map(int, engine.call("inspect", "-f", "{{.State.Pid}}", *ids).split()):
        found += [pid, parent(pid), parent(parent(pid))]
    return found


def many(engine: Estiba, result: Result) -> None:
    """A thousand start, are listed, and vanish."""
    remains = Remains(engine.data, Path("/run/estiba"))
    listing = Job([*engine.words, "ps"], engine.environment)
    one = engine.call(*start(engine)[len(engine.words) :]).strip()
    few = compare({"ps": listing}, runs=10)["ps"].fastest  # what they cost, not what else the machine has to do
    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ids = [one, *(text.strip() for text in pool.map(lambda _: engine.call(*start(engine)[len(engine.words) :]), range(MANY - 1)))]
    started = time.perf_counter() - begun
    time.sleep(SETTLE_SECONDS)
    all_ = compare({"ps": listing}, runs=10)["ps"].fastest
    run = compare({"run": engine.run_true()}, runs=10)["run"].fastest
    pids = watchers(engine, ids)
    begins = [(pid, start_time(pid)) for pid in pids]
    pss = sum(proportional_kib(pid) for at, pid in enumerate(pids) if at % 3) / MANY
    begun = time.perf_counter()
    subprocess.run([*engine.words, "rm", "-f", *ids], env=engine.environment, stdout=subprocess.DEVNULL, check=True)
    ended = time.perf_counter() - begun
    left = remains.gone(set(ids))
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(engine.data) in line]
    deadline = time.monotonic() + PATIENCE_SECONDS  # the kernel takes namespaces away behind the last ones
    while alive := [f"process {pid}" for pid, began in begins if start_time(pid) == began and not is_zombie(pid)]:
        if time.monotonic() > deadline:
            left += alive
            break
        time.sleep(0.05)
    for thing in left:
        print(thing, file=sys.stderr)
    result.rows += [
        [f"{MANY:,} detached: start, {AT_ONCE} at a time", f"{started:.0f} s", "", ""],
        [f"`ps` on one, on {MANY:,}", f"{few:.0f} ms, {all_:.0f} ms", "", ""],
        [f"`run --rm` beside {MANY:,}", f"{run:.0f} ms", "", ""],
        [f"PSS of one of {MANY:,}", f"{pss:.0f} KiB", "", ""],
        [f"`rm -f` of {MANY:,}", f"{ended:.0f} s, {len(left)} things left", "", ""],
    ]
    result.data |= {"many_start_s": started, "ps_one_ms": few, "ps_many_ms": all_, "run_beside_ms": run}
    result.data |= {"many_pss_kib": pss, "many_rm_s": ended}
    result.claims += [
        (f"`ps` on {MANY:,} takes less than {LIST_MS} ms more than on one", all_ - few < LIST_MS),
        (f"nothing is left of {MANY:,}: no mount, group, process, range, record, folder or name", not left),
    ]


def idle(engine: Estiba, tar: Path, result: Result) -> None:
    """What a few hold, against docker's shims."""
    ids = [engine.call(*start(engine)[len(engine.words) :]).strip() for _ in range(4)]
    time.sleep(SETTLE_SECONDS)
    pss = sum(proportional_kib(pid) for at, pid in enumerate(watchers(engine, ids)) if at % 3) / len(ids)
    engine.call("rm", "-f", *ids)
    shims = dockers_shims(tar)
    shim = sum(shims) / len(shims)
    result.rows.append(["PSS of an idle one of four", f"{pss:.0f} KiB", f"{shim:.0f} KiB (its shim)", ""])
    result.data |= {"pss_kib": pss, "docker_pss_kib": shim}
    result.claims.append((f"at most 1/{DOCKERS_SHARE} of the memory of docker's shim", pss * DOCKERS_SHARE <= shim))


def measure(folder: Path, runs: int) -> Result:
    result = Result("Detached containers", ["", "estiba", "docker", "podman"])
    tar = alpine_tar(folder)
    with ExitStack() as stack:
        engines = list(image_engines(folder, stack))
        for engine in engines:
            engine.import_tar(tar, IMAGE)
        samples = lives(engines, runs)
    cells = {name: f"{begun.median:.0f} + {ended.median:.0f} ms" for name, (begun, ended) in samples.items()}
    result.rows.append(["`run -d` + `rm -f`, medians", *(cells.get(name, "") for name in ("estiba", "docker", "podman"))])
    totals = {name: begun.median + ended.median for name, (begun, ended) in samples.items()}
    result.data |= {name: {"run_d": begun.to_json(), "rm_f": ended.to_json()} for name, (begun, ended) in samples.items()}
    if "docker" in totals:
        held = totals["estiba"] * START_FACTOR <= totals["docker"]
        result.claims.append((f"`run -d` + `rm -f`: at most 1/{START_FACTOR} of docker's time", held))
    engine = estiba(folder / "many")
    engine.import_tar(tar, IMAGE)
    if "docker" in totals:
        idle(engine, tar, result)
    many(engine, result)
    return result
