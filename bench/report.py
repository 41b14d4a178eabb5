"""What a scenario returns, and how it is written down: one JSON file each, one Markdown page for all."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.measure import Sample

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Result:
    """One scenario: a table for people and data for programs.

    `claims` are the promises of the documentation that this scenario can check: text, and whether it held in this run.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    data: dict[str, object] = field(default_factory=dict)
    claims: list[tuple[str, bool]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", "| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += [""] + [f"- {'held' if held else '**not held**'}: {claim}" for claim, held in self.claims]
        return "\n".join(lines).rstrip() + "\n"

    def save(self, name: str) -> None:
        RESULTS.mkdir(exist_ok=True)
        document = {"title": self.title, "machine": machine(), "data": self.data, "claims": dict(self.claims)}
        (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def machine() -> dict[str, object]:
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def times(title: str, samples: Mapping[str, Sample], versions: Mapping[str, str], subject: str = "estiba") -> Result:
    """A table of medians, each with its ratio to `subject`'s."""
    result = Result(title, ["", "median ms", "fastest ms", f"times {subject}'s"])
    base = samples[subject].median
    for name, sample in sorted(samples.items(), key=lambda item: item[1].median):
        ratio = sample.median / base
        result.rows.append([versions.get(name, name), f"{sample.median:.1f}", f"{sample.fastest:.1f}", f"{ratio:.2f}"])
        result.data[name] = sample.to_json() | {"ratio": round(ratio, 3)}
    return result


def page(results: Sequence[Result]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    return f"# Benchmarks\n\nMade by `make bench` ({facts}).\n\n" + "\n".join(result.markdown() for result in results)
