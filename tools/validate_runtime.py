#!/usr/bin/env python3
"""Runs the checks of opencontainers/runtime-tools against several OCI runtimes and prints a table (docs/dev/oci-validation.md).

    tools/validate_runtime.py [--runtime NAME=PROGRAM ...] [--only CHECK ...]

Needs root, Go, and its module proxy. The release has no go.mod and names its dependencies by revisions that a proxy need not have; the
versions below are the nearest that it is built with. Exit status 1 when the last runtime fails a check that the first one passes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE, VERSION = "github.com/opencontainers/runtime-tools", "v0.9.0"
GO_MOD = f"""module {MODULE}

go 1.18

require (
	github.com/blang/semver v3.5.1+incompatible
	github.com/hashicorp/go-multierror v1.0.0
	github.com/mndrix/tap-go v0.0.0-20171203230836-629fa407e90b
	github.com/mrunalp/fileutils v0.5.0
	github.com/opencontainers/runtime-spec v1.0.2
	github.com/opencontainers/selinux v1.10.2
	github.com/satori/go.uuid v1.1.0
	github.com/urfave/cli v1.19.1
)
"""
CHECK_SECONDS = 120
RESULT = re.compile(r"^\s*(?P<no>not )?ok \d+(?P<skip>.*# SKIP)?", re.MULTILINE)
Counts = dict[str, tuple[int, int]]


def build(folder: Path) -> Path:
    """Builds all checks below `folder`; returns where they are run."""
    (folder / "fetch").mkdir()
    (folder / "fetch" / "go.mod").write_text("module fetch\n")
    command = ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    said = subprocess.run(command, cwd=folder / "fetch", capture_output=True, text=True, check=True).stdout
    found = re.search(r'"Dir": "([^"]+)"', said)
    assert found is not None, said
    source = folder / "source"
    shutil.copytree(found[1], source)
    subprocess.run(["chmod", "-R", "u+w", str(source)], check=True)
    (source / "go.mod").write_text(GO_MOD)
    environment = os.environ | {"CGO_ENABLED": "0"}
    (source / "checks").mkdir()
    for step in (["mod", "tidy"], ["build", "-o", "checks/", "./validation/..."], ["build", "-o", "runtimetest", "./cmd/runtimetest"]):
        subprocess.run(["go", *step], cwd=source, env=environment, capture_output=True, check=True)
    return source


def run(source: Path, check: str, program: str) -> tuple[int, int]:
    """How many parts of a check pass and fail; one that ends badly without a word is one failure."""
    try:
        done = subprocess.run(
            [f"checks/{check}"], cwd=source, env=os.environ | {"RUNTIME": program}, capture_output=True, timeout=CHECK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return 0, 1
    results = [match["no"] for match in RESULT.finditer(done.stdout.decode(errors="replace")) if not match["skip"]]
    failed = sum(1 for no in results if no)
    return len(results) - failed, failed + int(done.returncode != 0 and failed == 0)


def table(checks: list[str], counts: dict[str, Counts]) -> str:
    """Markdown: of each check, passed and failed parts of each runtime."""
    lines = ["| check | " + " | ".join(counts) + " |", "|---|" + "---|" * len(counts)]
    lines += [
        f"| {check} | " + " | ".join("{} + {}".format(*counts[name][check]) for name in counts) + " |" for check in checks
    ]
    sums = [tuple(sum(column) for column in zip(*counts[name].values(), strict=True)) for name in counts]
    return "\n".join([*lines, "| all | " + " | ".join("{} + {}".format(*both) for both in sums) + " |"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", action="append", metavar="NAME=PROGRAM", help="the last one is judged by the first")
    parser.add_argument("--only", action="append", metavar="CHECK")
    options = parser.parse_args()
    ours = os.path.join(os.path.dirname(sys.executable), "estiba-runtime")
    given = options.runtime or [*(f"{name}={name}" for name in ("runc", "crun") if shutil.which(name)), f"estiba={ours}"]
    runtimes = {name: shutil.which(program) or program for name, program in (item.split("=", 1) for item in given)}
    with tempfile.TemporaryDirectory(prefix="estiba-validate-") as name:
        source = build(Path(name))
        checks = sorted(path.name for path in (source / "checks").iterdir() if not options.only or path.name in options.only)
        counts: dict[str, Counts] = {runtime: {} for runtime in runtimes}
        for check in checks:
            for runtime, program in runtimes.items():
                counts[runtime][check] = run(source, check, program)
    print(table(checks, counts))
    first, last = counts[next(iter(runtimes))], counts[list(runtimes)[-1]]
    worse = [check for check in checks if last[check][0] < first[check][0] or last[check][1] > first[check][1]]
    for check in worse:
        print(f"{check}: {last[check]}, not {first[check]}", file=sys.stderr)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
