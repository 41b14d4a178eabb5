"""Many at once: nothing is lost, nothing is left, nothing is fetched twice (the leak check of tests/support holds here too)."""

from __future__ import annotations

import collections
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from bench.registry import loopback_registry
from tests.support.command import command_under_test
from tests.support.soak import times

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command import Command

RUNS = len(times(200, 1000))
PARALLEL = 50
CONCURRENT = len(times(100, 200))
BLOB = re.compile(r'"GET /v2/\S+/blobs/(?P<digest>sha256:[0-9a-f]{64}) HTTP')


def run_many(words: list[str], environment: dict[str, str], count: int, parallel: int) -> collections.Counter[tuple[int, str]]:
    """(exit code, standard error) of `count` commands, `parallel` at a time."""

    def once(_: int) -> tuple[int, str]:
        done = subprocess.run([*command_under_test(), *words], env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(parallel) as pool:
        return collections.Counter(pool.map(once, range(count)))


@pytest.mark.soak
def test_many_runs(estiba: Command, environment: dict[str, str], alpine_tar: Path, tmp_path: Path) -> None:
    estiba("import", str(alpine_tar), "alpine")
    results = run_many(["run", "--rm", "--network", "none", "alpine", "true"], environment, RUNS, PARALLEL)
    assert results == {(0, ""): RUNS}
    assert not any(entry.is_dir() and entry.name != "names" for entry in (tmp_path / "root/containers").iterdir())
    assert not list((tmp_path / "root/containers/names").iterdir())


@pytest.mark.soak
def test_concurrent_runs_fetch_each_blob_once(estiba: Command, environment: dict[str, str], alpine_tar: Path, tmp_path: Path) -> None:
    with loopback_registry(tmp_path / "registry", access_log=True) as address:
        name = f"{address}/test/alpine:1"
        publisher = str(tmp_path / "publisher")
        estiba("import", str(alpine_tar), name, ESTIBA_ROOT=publisher)
        estiba("push", name, ESTIBA_ROOT=publisher)
        results = run_many(["run", "--rm", "--quiet", "--network", "none", name, "true"], environment, CONCURRENT, PARALLEL)
        assert {status for status, _ in results} == {0}, results
    fetched = collections.Counter(match["digest"] for match in BLOB.finditer((tmp_path / "registry/log").read_text()))
    assert len(fetched) == 2, "a configuration and one layer"
    assert set(fetched.values()) == {1}, fetched
