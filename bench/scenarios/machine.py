"""Guests: their start on User-Mode Linux and on QEMU; of the first ten at once, and what it holds in memory and on disk."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engines import IMAGE, Engine, estiba
from bench.measure import Job, compare
from bench.report import Result, times
from bench.roots import alpine_tar
from bench.scenarios.memory import descendants, proportional_kib

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNELS = Path(__file__).resolve().parents[3] / "shared" / "kernels"
KERNEL, PC_KERNEL = KERNELS / "uml-7.2.13-x86_64.xz", KERNELS / "vmlinux-6.1.192-x86_64.xz"
START_MS, TEN_MS, REST_MIB, GUESTS = 100, 500, 20, 10
#: What each rung of QEMU may take, and its flags.
EMULATED = {
    "partial, booted": (1500, ("--isolation", "partial", "--snapshot=false")),
    "partial": (450, ("--isolation", "partial")),
    "full": (3500, ("--isolation", "full")),
}
SETTLE_SECONDS = 1.0


class Guest:
    """A guest in the foreground whose program waits for a line."""

    def __init__(self, engine: Engine, *options: str) -> None:
        words = [*engine.words, "run", "--rm", "-i", "--isolation", "para", *options, IMAGE, "sh", "-c", "echo up; read line"]
        self.process = subprocess.Popen(words, env=engine.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def wait_up(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"up\n":
            raise RuntimeError("a guest did not start")

    def kib(self) -> int:
        """PSS of all its processes, shared memory included."""
        return sum(proportional_kib(pid) for pid in (self.process.pid, *descendants(self.process.pid)))

    def end(self) -> None:
        self.process.communicate(b"\n", timeout=60)


def ten_at_once(engine: Engine, rounds: int) -> list[float]:
    """Milliseconds from the first command to the last guest's first line."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        guests = [Guest(engine, "-m", "64m") for _ in range(GUESTS)]
        for guest in guests:
            guest.wait_up()
        taken.append((time.perf_counter() - begun) * 1000)
        for guest in guests:
            guest.end()
    return taken


def at_rest(engine: Engine, count: int) -> float:
    """MiB of each of `count` guests of 64 MB."""
    guests = [Guest(engine, "-m", "64m") for _ in range(count)]
    for guest in guests:
        guest.wait_up()
    time.sleep(SETTLE_SECONDS)
    total = sum(guest.kib() for guest in guests)
    for guest in guests:
        guest.end()
    return total / count / 1024


def layer_bytes(engine: Engine) -> int:
    """What the images of layers take on disk."""
    return sum(os.stat(path).st_blocks * 512 for path in engine.data.glob("layers/*/erofs"))


def plain(source: Path, path: Path) -> Path:
    """A kernel, decompressed."""
    path.write_bytes(lzma.decompress(source.read_bytes()))
    path.chmod(0o755)
    return path


def kernels(folder: Path) -> Iterator[Path]:
    """The kernel of ../shared, else that of the package user-mode-linux."""
    if KERNEL.exists():
        yield plain(KERNEL, folder / "linux")
    yield Path("/usr/bin/linux.uml")


def measure(folder: Path, runs: int) -> Result:
    engine = estiba(folder / "estiba")
    engine.import_tar(alpine_tar(folder), IMAGE)
    kernel = next(kernels(folder))
    engine.call("kernel", "import", str(kernel))
    para = [*engine.words, "run", "--rm", "--isolation", "para", IMAGE, "true"]
    jobs = {"container": engine.run_true(), "para": Job(para, engine.environment)}
    if PC_KERNEL.exists() and shutil.which("qemu-system-x86_64"):
        engine.call("kernel", "import", str(plain(PC_KERNEL, folder / "vmlinux")))
        for name, (_, flags) in EMULATED.items():
            jobs[name] = Job([*engine.words, "run", "--rm", *flags, IMAGE, "true"], engine.environment)
    result = times("Kernels: `run --rm --isolation ... alpine true`", compare(jobs, runs=runs), {}, subject="container")
    before = layer_bytes(engine)
    ten = min(ten_at_once(engine, max(3, runs // 10)))
    one, many = at_rest(engine, 1), at_rest(engine, GUESTS)
    result.rows += [
        [f"{GUESTS} guests at once, until all are up", "", f"{ten:.0f}", ""],
        ["one guest of 64 MB at rest, PSS MiB", f"{one:.1f}", "", ""],
        [f"each of {GUESTS}, PSS MiB", f"{many:.1f}", "", ""],
    ]
    result.data |= {"ten_ms": ten, "rest_mib": one, "rest_mib_of_ten": many, "kernel": kernel.name}
    samples = result.data["para"]
    assert isinstance(samples, dict)
    for name, (most, _) in EMULATED.items():
        taken = result.data.get(name)
        if isinstance(taken, dict):
            result.claims.append((f"{name} in at most {most} ms", taken["median_ms"] <= most))
    result.claims += [
        (f"para in at most {START_MS} ms", samples["median_ms"] <= START_MS),
        (f"{GUESTS} guests up within {TEN_MS} ms", ten <= TEN_MS),
        (f"a guest of 64 MB at rest within {REST_MIB} MiB", one <= REST_MIB),
        ("further guests add no copy of a layer", 0 < before == layer_bytes(engine)),
    ]
    return result
