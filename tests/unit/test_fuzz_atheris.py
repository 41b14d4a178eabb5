"""Coverage-guided fuzzing, bounded by the number of runs; the harnesses in tests/fuzz run as long as one wants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SEEDS = {
    "fuzz_json": [b'{"a":[1,2.5,"x\\u00e9"]}', b'{"schemaVersion":2,"manifests":[]}', b'{"config":{"Env":["A=b"]},"created":"2024-01-01T00:00:00Z"}'],
    "fuzz_reference": [b"localhost:5000/a__b/c-d:T@sha256:" + b"a" * 64, b"[::1]:5000/x", b"linux/arm/v7", b"user:group"],
}  # fmt: skip


@pytest.mark.parametrize("harness", sorted(SEEDS))
def test_no_input_is_a_surprise(tmp_path: Path, harness: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[harness]):
        (corpus / str(number)).write_bytes(seed)
    command = [sys.executable, "-m", f"tests.fuzz.{harness}", "-runs=30000", "-max_len=512", f"-artifact_prefix={tmp_path}/", str(corpus)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    found = [path.read_bytes() for path in tmp_path.glob("crash-*")]
    assert done.returncode == 0, f"{found}\n{done.stderr[-3000:]}"
