"""Processes that are named for good, by pid and start time: the number alone is given to another one later. On the start path."""

from __future__ import annotations

import os


def start_time(pid: int) -> str:
    """Returns a process's start time in clock ticks, empty when it is gone."""
    return _field(pid, 22)


def _field(pid: int | str, number: int) -> str:
    """A field of proc_pid_stat(5) behind the second, empty for a process that is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)  # open() takes twice as long
    except (FileNotFoundError, ProcessLookupError):
        return ""
    try:
        return os.read(descriptor, 4096).rpartition(b")")[2].split()[number - 3].decode("ascii")
    except ProcessLookupError:
        return ""
    finally:
        os.close(descriptor)


def child(pid: int) -> int | None:
    """A descriptor of some child of a process, None when it has none that this user sees. Whoever asks holds the parent (`pidfd`), so that
    its number is not another's.
    """
    for name in filter(str.isdigit, os.listdir("/proc")):
        if _parent(name) == pid:
            try:
                descriptor = os.pidfd_open(int(name))
            except ProcessLookupError:
                continue
            if _parent(name) == pid:
                return descriptor
            os.close(descriptor)
    return None


def _parent(name: str) -> int:
    try:
        return int(_field(name, 4) or 0)
    except PermissionError:  # another user's, where /proc is mounted with hidepid=1
        return 0


def pidfd(pid: int, started: str) -> int | None:
    """A descriptor of the process that has this number and this start time, None when it is gone (pidfd_open(2)).

    The start time is looked at while the descriptor holds the process, so the number cannot become another's in between.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, OverflowError):
        return None
    if start_time(pid) != started:
        os.close(descriptor)
        return None
    return descriptor
