"""Other limits for a group in which processes run already, and those that it had before (cgroups(7))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from estiba.linux import cgroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from estiba.linux.cgroup_files import Write


def before(path: str, writes: Sequence[Write]) -> list[Write]:
    """What the files of the group `path` hold that `writes` would change."""
    files = dict.fromkeys(file for write in writes for file in write[::2] if os.path.exists(f"{path}/{file}"))
    return [(file, _read(f"{path}/{file}")) for file in files]


def change(path: str, writes: Sequence[Write]) -> None:
    """Writes limits into the group `path`. Raises FailedPrecondition naming the file that the kernel refused; others may be written."""
    for write in _in_order(path, writes):
        cgroup.apply(path, write)


def put_back(path: str, writes: Sequence[Write]) -> None:
    """Writes what `before` returned. A group that is gone, and what the kernel refuses by now, is passed over."""
    for file, text in _in_order(path, writes):
        for line in text.split("\n"):  # one at a time, as the kernel takes them
            try:
                cgroup.write_file(f"{path}/{file}", f"{line}\n")
            except OSError:
                continue


def _in_order(path: str, writes: Sequence[Write]) -> Iterator[Write]:
    """Version 1 wants memory to be at most memory and swap together at each moment (cgroup-v1/memory.rst, 2.4)."""
    named = {write[0]: write for write in writes}
    swap = named.get("memory.memsw.limit_in_bytes")
    file = f"{path}/memory.memsw.limit_in_bytes"
    if swap and "memory.limit_in_bytes" in named and os.path.exists(file):
        now = _read(file)
        if now.isdigit() and int(named["memory.limit_in_bytes"][1]) > int(now):
            yield swap
            yield from (write for write in writes if write is not swap)
            return
    yield from writes


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()
