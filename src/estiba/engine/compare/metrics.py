"""What is measured: names, units, and which way is better. The words for people are the command line's."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One thing that is measured. `unit` is B, ms, us, ns, MB/s or M/s (millions of rounds in a second)."""

    name: str
    unit: str
    less_is_better: bool = True


METRICS = (
    Metric("disk", "B"),
    Metric("engine", "B"),
    Metric("start-cold", "ms"),
    Metric("start", "ms"),
    Metric("end", "ms"),
    Metric("memory", "B"),
    Metric("processor", "M/s", less_is_better=False),
    Metric("system-call", "ns"),
    Metric("process", "us"),
    Metric("disk-write", "MB/s", less_is_better=False),
    Metric("disk-read", "MB/s", less_is_better=False),
    Metric("disk-random-write", "us"),
    Metric("disk-random-read", "us"),
    Metric("network-speed", "MB/s", less_is_better=False),
    Metric("network-delay", "us"),
)
BY_NAME = {metric.name: metric for metric in METRICS}
# What the program itself prints (helper/workload/workload.c); the others are seen from outside.
WORKLOAD = frozenset(BY_NAME) - {"disk", "engine", "start-cold", "start", "end", "memory"}
