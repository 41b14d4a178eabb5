"""Which gzip library to use for layers: the same stream through each, in chunks as they come from the network."""

from __future__ import annotations

import gzip
import hashlib
import statistics
import time
import zlib
from typing import TYPE_CHECKING, Protocol

from isal import isal_zlib

from bench.report import Result
from bench.roots import alpine_tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHUNK = 64 * 1024
GZIP_WINDOW = 16 + 15  # zlib's manual: 16 asks for the gzip header, 15 is the window


class Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


def inflate(make: Callable[[int], Decompressor], stream: bytes) -> tuple[float, str]:
    digest = hashlib.sha256()
    begun = time.perf_counter()
    decompressor = make(GZIP_WINDOW)
    for offset in range(0, len(stream), CHUNK):
        digest.update(decompressor.decompress(stream[offset : offset + CHUNK]))
    return time.perf_counter() - begun, digest.hexdigest()


def libraries() -> dict[str, Callable[[int], Decompressor]]:
    found: dict[str, Callable[[int], Decompressor]] = {"zlib": zlib.decompressobj, "isal": isal_zlib.decompressobj}
    try:
        from zlib_ng import zlib_ng
    except ModuleNotFoundError:
        return found
    return found | {"zlib-ng": zlib_ng.decompressobj}


def measure(folder: Path, runs: int) -> Result:
    plain = gzip.decompress(alpine_tar(folder).read_bytes())
    stream = gzip.compress(plain * max(1, 50_000_000 // len(plain)), 6)
    total = len(zlib.decompress(stream, GZIP_WINDOW))
    result = Result("Inflating and hashing a layer", ["library", "median ms", "MB/s of tar", "times isal's"])
    seconds: dict[str, list[float]] = {}
    digests = set()
    for _ in range(max(3, runs // 4)):
        for name, make in libraries().items():
            taken, digest = inflate(make, stream)
            seconds.setdefault(name, []).append(taken)
            digests.add(digest)
    assert len(digests) == 1, "the libraries disagree"
    base = statistics.median(seconds["isal"])
    for name, values in sorted(seconds.items(), key=lambda item: statistics.median(item[1])):
        median = statistics.median(values)
        result.rows.append([name, f"{median * 1e3:.0f}", f"{total / median / 1e6:.0f}", f"{median / base:.2f}"])
        result.data[name] = {"median_ms": round(median * 1e3, 1), "megabytes_per_second": round(total / median / 1e6)}
    return result
