"""The result of `compare`: figures with their spread, and what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from estiba.engine.compare.metrics import BY_NAME, METRICS

CONTAINER = "container"
MACHINES = ("para", "partial", "full")
ENGINES = ("docker", "podman")


@dataclass(frozen=True)
class Figure:
    """Values of one metric on one rung, in its unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the median that needs no assumption about the distribution: two order statistics between
        which it lies with that probability (binomial); of fewer than six values, the least and the greatest.
        """
        ordered = sorted(self.values)
        low = _rank(len(ordered))
        return ordered[low], ordered[len(ordered) - 1 - low]

    def to_json(self) -> dict[str, Any]:
        """The figure with all its values."""
        low, high = self.interval
        return {"median": self.median, "low": low, "high": high, "values": list(self.values)}


def _rank(count: int) -> int:
    """The largest k for which the median lies between the k-th value (from 0) and its counterpart with 95 %."""
    rank, tail = 0, 0.0
    for k in range(count // 2):
        tail += math.comb(count, k) / 2**count
        if 2 * tail > 0.05:
            break
        rank = k
    return rank


@dataclass
class RungReport:
    """One rung: its figures by the metric's name, or the reason why it does not run here. `version` is what carries it."""

    name: str
    version: str = ""
    reason: str = ""
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether it was measured."""
        return not self.reason

    def to_json(self) -> dict[str, Any]:
        """The rung as the JSON report has it."""
        return {
            "name": self.name,
            "version": self.version,
            "works": self.works,
            "reason": self.reason,
            "notes": self.notes,
            "figures": {name: {"unit": BY_NAME[name].unit, **figure.to_json()} for name, figure in self.figures.items()},
        }


@dataclass(frozen=True)
class Claim:
    """One sentence of what is taught about containers, and how many times better the container is than `rung` in `metric`. `clear`
    tells that their intervals do not overlap: else the figures say nothing.
    """

    key: str
    metric: str
    rung: str
    ratio: float
    clear: bool = True


# What is said of containers beside virtual machines, and the figure that bears it out or does not.
_SAID = (
    ("lighter", "disk"),
    ("lighter", "memory"),
    ("at-once", "start"),
    ("faster", "system-call"),
    ("faster", "process"),
    ("faster", "processor"),
)


@dataclass
class Report:
    """Everything that was measured of `image` on `machine` (facts by name)."""

    image: str
    command: Sequence[str]
    repeat: int
    started: str
    machine: Mapping[str, str]
    rungs: list[RungReport]

    def measured(self) -> list[RungReport]:
        """The rungs that run here."""
        return [rung for rung in self.rungs if rung.works]

    def metrics(self) -> list[str]:
        """Names of the metrics that some rung has a figure of."""
        return [metric.name for metric in METRICS if any(metric.name in rung.figures for rung in self.rungs)]

    def ratio(self, metric: str, rung: RungReport) -> float | None:
        """How many times better the container is than `rung`; None where either has no figure."""
        base = next((each for each in self.measured() if each.name == CONTAINER), None)
        if base is None or metric not in base.figures or metric not in rung.figures:
            return None
        ours, theirs = base.figures[metric].median, rung.figures[metric].median
        if ours <= 0 or theirs <= 0:
            return None
        return theirs / ours if BY_NAME[metric].less_is_better else ours / theirs

    def _clear(self, metric: str, rung: RungReport) -> bool:
        base = next(each for each in self.measured() if each.name == CONTAINER)
        (low, high), (other_low, other_high) = (each.figures[metric].interval for each in (base, rung))
        return high < other_low or other_high < low or (low == high and other_low == other_high)

    def claims(self) -> list[Claim]:
        """Each sentence with its measured ratios, one for each virtual machine."""
        found = []
        for key, metric in _SAID:
            for rung in self.measured():
                ratio = self.ratio(metric, rung)
                if rung.name in MACHINES and ratio is not None:
                    found.append(Claim(key, metric, rung.name, ratio, self._clear(metric, rung)))
        return found

    def to_json(self) -> dict[str, Any]:
        """The whole report."""
        return {
            "image": self.image,
            "command": list(self.command),
            "repeat": self.repeat,
            "started": self.started,
            "machine": dict(self.machine),
            "rungs": [rung.to_json() for rung in self.rungs],
            "claims": [
                {"claim": claim.key, "metric": claim.metric, "rung": claim.rung, "ratio": claim.ratio, "clear": claim.clear}
                for claim in self.claims()
            ],
        }
