"""Other limits for groups in which processes run already: all of them, or none (cgroups(7))."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from estiba.errors import FailedPrecondition
from estiba.linux import cgroup
from estiba.linux.cgroup import Group

if TYPE_CHECKING:
    from estiba.linux.cgroup_files import Write


def change(groups: Iterable[Group]) -> None:
    """Writes the limits of `groups`, which are there. When the kernel refuses one, those written before become what they were.

    Raises FailedPrecondition naming the file.
    """
    undo: list[tuple[str, str]] = []
    try:
        for group in groups:
            cgroup.enable(group)
            for write in _in_order(group):
                undo += [(path, _read(path)) for file in write[::2] if os.path.exists(path := f"{group.path}/{file}")]
                cgroup.apply(group.path, write)
    except FailedPrecondition:
        for path, value in reversed(undo):
            try:
                cgroup.write_file(path, value)
            except OSError:
                continue  # the error to tell is the first
        raise


def _in_order(group: Group) -> Iterator[Write]:
    """Version 1 wants memory to be at most memory and swap together at each moment (cgroup-v1/memory.rst, 2.4)."""
    writes = {write[0]: write for write in group.writes}
    swap = writes.get("memory.memsw.limit_in_bytes")
    path = f"{group.path}/memory.memsw.limit_in_bytes"
    if swap and "memory.limit_in_bytes" in writes and os.path.exists(path):
        now = _read(path)
        if now.isdigit() and int(writes["memory.limit_in_bytes"][1]) > int(now):
            yield swap
            yield from (write for write in group.writes if write is not swap)
            return
    yield from group.writes


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()
