#!/usr/bin/env python3
"""Runs the checks of opencontainers/runtime-tools against several OCI runtimes and prints a table (docs/dev/oci-validation.md).

    tools/validate_runtime.py [--runtime NAME=PROGRAM ...] [--only CHECK ...]

Needs root, Go, and its module proxy. The release has no go.mod and names its dependencies by revisions that a proxy need not have; the
versions below are the nearest that it is built with. Exit status 1 when the last runtime fails a part of a check that the first one passes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
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
RESULT = re.compile(r"^\s*(?P<no>not )?ok \d+(?: - )?(?P<part>.*)", re.MULTILINE)
AS_A_WHOLE = "(as a whole)"


class Outcome:
    """The parts of a check that passed and failed, by what the suite calls them; one name may stand for several."""

    def __init__(self, status: int, said: str) -> None:
        self.passed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        for result in RESULT.finditer(said):
            if "# SKIP" not in result["part"]:
                (self.failed if result["no"] else self.passed)[result["part"]] += 1
        # Some checks have no parts: they end well, or print an error, or have an exit status.
        if not self.passed and not self.failed:
            (self.failed if status or '"error":' in said else self.passed)[AS_A_WHOLE] += 1
        elif status and not self.failed:
            self.failed[AS_A_WHOLE] += 1

    def __str__(self) -> str:
        return f"{self.passed.total()} + {self.failed.total()}"


Outcomes = dict[str, Outcome]


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


def run(source: Path, check: str, program: str) -> Outcome:
    """Runs one check. What mounts it and the runtime leave is gone with its mount namespace, what bundles with the folder of `source`."""
    environment = os.environ | {"RUNTIME": program, "TMPDIR": str(source.parent)}
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{unmount_version2()} exec "$0"', f"checks/{check}"]
    try:
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, timeout=CHECK_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(1, "")
    return Outcome(done.returncode, done.stdout.decode(errors="replace"))


def unmount_version2() -> str:
    """Commands that leave version 1 of control groups alone where both are there: crun refuses to work with both."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    if not any(kind == "cgroup" for _, _, kind, *_ in mounts):
        return ""
    return "".join(f"umount {target};" for _, target, kind, *_ in mounts if kind == "cgroup2")


def table(checks: list[str], outcomes: dict[str, Outcomes]) -> str:
    """Markdown: of each check, passed and failed parts of each runtime."""
    lines = ["| check | " + " | ".join(outcomes) + " |", "|---|" + "---|" * len(outcomes)]
    lines += [f"| {check} | " + " | ".join(str(of[check]) for of in outcomes.values()) + " |" for check in checks]
    sums = [
        f"{sum(each.passed.total() for each in of.values())} + {sum(each.failed.total() for each in of.values())}"
        for of in outcomes.values()
    ]
    return "\n".join([*lines, "| all | " + " | ".join(sums) + " |"])


def lacks(checks: list[str], other: Outcomes, ours: Outcomes) -> list[str]:
    """What another runtime passes and the judged one does not: checks, and of those that it passes in part the parts."""
    missing = []
    for check in checks:
        parts = other[check].passed - ours[check].passed
        if ours[check].passed:
            missing += [f"{check}: {part}" + (f" ({times} times)" if times > 1 else "") for part, times in parts.items()]
        elif parts:
            missing.append(f"{check} ({parts.total()} parts)")
    return missing


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
        outcomes: dict[str, Outcomes] = {runtime: {} for runtime in runtimes}
        for check in checks:
            for runtime, program in runtimes.items():
                outcomes[runtime][check] = run(source, check, program)
    print(table(checks, outcomes) + "\n")
    *others, judged = outcomes
    missing = {other: lacks(checks, outcomes[other], outcomes[judged]) for other in others}
    for other, parts in missing.items():
        lines = [f"{other} passes and {judged} does not: {part}" for part in parts]
        print("\n".join(lines or [f"{judged} passes every part that {other} passes"]))
    return int(any(list(missing.values())[:1]))


if __name__ == "__main__":
    sys.exit(main())
