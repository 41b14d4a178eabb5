"""Start-up must not grow with the store: 10,000 tags, 1,000 containers on disk, an image of 127 layers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from bench.engines import IMAGE, Estiba, estiba
from bench.measure import compare
from bench.report import Result, times
from bench.roots import alpine_tar
from estiba.config.settings import load
from estiba.engine.tag import tag
from estiba.oci.reference import parse_reference
from estiba.store import references
from estiba.store.layout import Store

TAGS = 10_000
CONTAINERS = 1_000
LAYERS = 127
FACTOR = 1.3


def one_file_tar(path: Path, name: str) -> Path:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(name)
        archive.addfile(member, io.BytesIO(name.encode()))
    return path


def fill(engine: Estiba) -> None:
    store = Store.open(load(environ=engine.environment))
    # `tag` derives index.json anew each time, which 10,000 times in a row takes an hour: the files are written, then derived from once.
    first = parse_reference(IMAGE)
    content = (Path(store.refs) / references.file_name(first)).read_text()
    for number in range(TAGS - 1):
        name = parse_reference(f"bench/tag-{number % 100:02d}:{number:05d}")
        (Path(store.refs) / references.file_name(name)).write_text(content.replace(first.canonical, name.canonical))
    tag(store, IMAGE, "bench/last")
    for _ in range(CONTAINERS):
        engine.call("run", "--network", "none", IMAGE, "true")


def deep_image(engine: Estiba, folder: Path) -> str:
    layers = []
    for number in range(LAYERS - 1):
        layers.append(f"bench/layer:{number:03d}")
        engine.import_tar(one_file_tar(folder / "one.tar", f"layer-{number:03d}"), layers[-1])
    engine.call("image", "stack", "-t", "bench/deep", *layers, IMAGE)
    return "bench/deep"


def measure(folder: Path, runs: int) -> Result:
    tar = alpine_tar(folder)
    small, large = estiba(folder / "small"), estiba(folder / "large")
    for engine in (small, large):
        engine.import_tar(tar, IMAGE)
    fill(large)
    deep = deep_image(small, folder)
    jobs = {
        "small store": small.run_true(),
        f"{TAGS:,} tags and {CONTAINERS:,} containers": large.run_true(),
        f"image of {LAYERS} layers": small.run_true(deep),
    }
    result = times("Scale: `run` on a large store", compare(jobs, runs=runs), {}, subject="small store")
    for name, sample in result.data.items():
        if isinstance(sample, dict) and name != "small store":
            result.claims.append((f"{name}: under {FACTOR} times the small case", sample["ratio"] < FACTOR))
    return result
