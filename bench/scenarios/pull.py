"""Pull and unpack 20,000 files (4 layers, 130 MB) from a registry on loopback, then a second image with 80 % of the files.

The second image shares no layer with the first, so what it takes on disk is what sharing files saves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engines import image_engines
from bench.measure import once
from bench.registry import loopback_registry
from bench.report import Result

if TYPE_CHECKING:
    from bench.engines import Engine



def make_images(address: str) -> tuple[str, str]:
    first, second = f"{address}/bench/first:1", f"{address}/bench/second:1"
    subprocess.run([sys.executable, "-m", "bench.make_image", first, second], check=True)
    return first, second


def one_round(engine: Engine, first: str, second: str) -> tuple[float, int, float, int]:
    """Milliseconds and bytes of the first pull, and what the second adds."""
    empty = engine.bytes_on_disk()
    os.sync()  # what another engine left unwritten is not this one's to write
    first_ms = once(engine.pull(first))
    after_first = engine.bytes_on_disk()
    os.sync()
    second_ms = once(engine.pull(second))
    after_second = engine.bytes_on_disk()
    return first_ms, after_first - empty, second_ms, after_second - after_first


def measure(folder: Path, runs: int) -> Result:
    result = Result(
        "Pull and unpack: 20,000 files, then an image with 80 % of them",
        ["", "first, s", "MB on disk", "second, s", "MB added", "second's share of the space"],
    )
    taken: dict[str, tuple[float, int, float, int]] = {}
    versions: dict[str, str] = {}
    with ExitStack() as stack:
        address = stack.enter_context(loopback_registry(folder / "registry"))
        first, second = make_images(address)
        # Once, on new folders: ext4 makes files ten times slower for minutes after many were removed.
        for engine in image_engines(folder, stack):
            Path(engine.data).mkdir(parents=True, exist_ok=True)
            taken[engine.name] = one_round(engine, first, second)
            versions[engine.name] = engine.version()
    for name, (first_ms, first_bytes, second_ms, second_bytes) in sorted(taken.items(), key=lambda item: item[1][0]):
        share = second_bytes / first_bytes
        cells = [f"{first_ms / 1e3:.2f}", f"{first_bytes / 1e6:.0f}", f"{second_ms / 1e3:.2f}", f"{second_bytes / 1e6:.0f}"]
        result.rows.append([versions[name], *cells, f"{share:.0%}"])
        result.data[name] = {
            "first_ms": round(first_ms),
            "first_bytes": first_bytes,
            "second_ms": round(second_ms),
            "second_bytes": second_bytes,
            "second_share": round(share, 3),
        }
    claim(result)
    return result


def claim(result: Result) -> None:
    figures = {name: value for name, value in result.data.items() if isinstance(value, dict)}
    mine = figures["estiba"]
    if "docker" in figures:
        result.claims.append(("at least 3 times faster than docker", mine["first_ms"] * 3 <= figures["docker"]["first_ms"]))
    if "podman" in figures:
        result.claims.append(("faster than podman", mine["first_ms"] < figures["podman"]["first_ms"]))
    result.claims.append(("the second image takes at most 30 % of the first one's space", mine["second_share"] <= 0.30))
    result.claims.append(("and no more time", mine["second_ms"] <= mine["first_ms"]))
