"""What a guest uses, as its own kernel counts it: the memory of the whole machine, kernel included, and all of its disks (proc(5))."""

from __future__ import annotations

from estiba.linux.cgroup_usage import Usage
from estiba.machine import layout

_CPU, _PIDS = f"{layout.GUEST_GROUP_PATH}/cpu.stat", f"{layout.GUEST_GROUP_PATH}/pids.current"
#: The guest's files that tell.
GUEST_FILES = (_CPU, _PIDS, "/proc/meminfo", "/proc/diskstats")
_SECTOR = 512
_DIGITS = 20  # of the largest number of 64 bits
_LOOP = "loop"  # a part of a disk that is counted


def guest_usage(files: dict[str, bytes]) -> Usage:
    """The figures of these files; one that is missing, or that makes no sense, tells nothing."""
    found = Usage()
    found.cpu = _thousandfold(_pairs(files.get(_CPU, b"")).get("usage_usec"))
    found.pids = _number(files.get(_PIDS, b"").strip())
    memory = _pairs(files.get("/proc/meminfo", b""))
    if {"MemTotal:", "MemAvailable:"} <= set(memory):
        found.limit = memory["MemTotal:"] * 1024
        found.memory = max(0, found.limit - memory["MemAvailable:"] * 1024)
    disks = [words for line in files.get("/proc/diskstats", b"").splitlines() if len(words := line.decode("ascii", "replace").split()) > 9]
    sectors = [(_number(words[5]) or 0, _number(words[9]) or 0) for words in disks if not words[2].startswith(_LOOP)]
    found.read, found.written = (sum(each[column] for each in sectors) * _SECTOR for column in (0, 1))
    return found


def _pairs(text: bytes) -> dict[str, int]:
    rows = [line.split() for line in text.decode("ascii", "replace").splitlines()]
    return {row[0]: number for row in rows if len(row) > 1 and (number := _number(row[1])) is not None}


def _number(word: str | bytes) -> int | None:
    return int(word) if word.isdigit() and len(word) <= _DIGITS else None


def _thousandfold(number: int | None) -> int | None:
    return None if number is None else number * 1000
