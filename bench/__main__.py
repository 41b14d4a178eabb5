"""python -m bench [--runs N] [SCENARIO...]: measures, writes bench/results/*.json and bench/results/README.md."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench.report import RESULTS, Result, page

SCENARIOS = ("floor", "start", "exec", "scale", "memory", "life", "files", "machine", "inflate", "pull")


def run(scenario: str, runs: int) -> Result:
    # Beside the results rather than in /tmp, which may be a tmpfs: a store belongs on a disk.
    folder = Path(tempfile.mkdtemp(prefix="estiba-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    folder.chmod(0o755)
    try:
        result: Result = importlib.import_module(f"bench.scenarios.{scenario}").measure(folder, runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result.save(scenario)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure estiba against the engines of this machine.")
    parser.add_argument("--runs", type=int, default=30, help="times each command is run (default 30)")
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS], default=[])
    chosen = parser.parse_args()
    results = []
    for scenario in chosen.scenario or SCENARIOS:
        print(f"measuring {scenario} ...", file=sys.stderr)
        results.append(run(scenario, chosen.runs))
        print(results[-1].markdown(), flush=True)
    (RESULTS / "README.md").write_text(page(results))
    broken = [claim for result in results for claim, held in result.claims if not held]
    for claim in broken:
        print(f"not held: {claim}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
