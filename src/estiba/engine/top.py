"""`top`: the processes of a container that runs, as the host sees them; those on a kernel of their own as that one does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from estiba.config.settings import Settings
from estiba.engine import containers, event_log, records
from estiba.engine.containers import Container
from estiba.engine.entering import check_enters, check_runs
from estiba.errors import DataLoss, InvalidArgument
from estiba.linux import cgroup, processes
from estiba.machine import layout
from estiba.store.layout import Store

_FULL = {"user": "UID", "pid": "", "ppid": "", "c": "", "stime": "", "tty": "", "time": "", "args": "CMD"}
_BSD = {"user": "", "pid": "", "pcpu": "", "pmem": "", "vsz": "", "rss": "", "tty": "", "s": "STAT", "start": "", "time": "", "args": ""}
_SELECTIONS = frozenset("eAaxwh")  # which processes ps(1) shows: always all of the container's
_GROUP = re.compile(r"/proc/([0-9]{1,10})/cgroup", re.ASCII)
_FILES = ("cgroup", "stat", "cmdline", "status")  # of a guest's /proc
_HINT = "such as -ef, aux, or -o pid,user,rss,args"


def top(store: Store, settings: Settings, name: str, options: Sequence[str] = ()) -> list[list[str]]:
    """Returns a heading and a row for each process. `options` are those of ps(1) that say what is shown: -f, -o, u.

    Raises NotFound, Conflict for a container that does not run, or that is paused and has a kernel of its own, InvalidArgument, DataLoss.
    """
    container = containers.find(store, name)
    columns = _columns(options)
    check_runs(container, "show the processes of")
    own = container.kernel
    rows = _guests(settings, container, columns) if own else _rows(_pids(settings, container), processes.Kernel(), columns)
    event_log.container(container, "top")
    return [list(columns.values()), *rows]


def _rows(pids: Sequence[int], kernel: processes.Kernel, columns: Iterable[str]) -> list[list[str]]:
    return [[processes.COLUMNS[column][1](process) for column in columns] for process in processes.read(pids, kernel)]


def _guests(settings: Settings, container: Container, columns: Iterable[str]) -> list[list[str]]:
    from estiba.engine.machine_exec import read_files

    check_enters(container, "show the processes of")
    files = read_files(settings, container, ["/proc/uptime", "/proc/meminfo", *(f"/proc/[0-9]*/{name}" for name in _FILES)])
    group = f":/{layout.GUEST_GROUP}".encode()
    groups = {int(found[1]): content for path, content in files.items() if (found := _GROUP.fullmatch(path))}
    try:
        return _rows(sorted(pid for pid, content in groups.items() if group in content), processes.OtherKernel(files), columns)
    except (ArithmeticError, LookupError, OSError, ValueError):  # whatever makes no sense as a number, or is not there
        raise DataLoss(f"cannot show the processes of container {container.name}: its kernel answers what makes no sense") from None


def _pids(settings: Settings, container: Container) -> list[int]:
    record = records.read(settings, container.id)
    if record is not None and record.cgroups:
        found = {pid for folder, _, _ in os.walk(record.cgroups[0]) for pid in cgroup.members(folder)}
    else:
        found = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _shares(pid, container.pid)}
    return sorted(found)


def _shares(pid: int, program: int) -> bool:
    """Whether two processes are of one mount namespace, which each container has of its own."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{program}/ns/mnt")
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return False


def _columns(options: Sequence[str]) -> dict[str, str]:
    """Columns and their headings."""
    chosen: dict[str, str] = {}
    preset = _FULL if not options else {"pid": "", "tty": "", "time": "", "comm": "CMD"}
    words = list(options)
    while words:
        word = words.pop(0)
        letters, found, listed = word.lstrip("-").partition("o")
        if not _SELECTIONS.issuperset(letters.replace("f", "").replace("u", "")) or word.startswith("--"):
            raise InvalidArgument(f"cannot use ps option {word!r}: it is not among those that are offered", hint=_HINT)
        if "f" in letters:
            preset = _FULL
        elif "u" in letters:
            preset = _BSD
        if found:
            if not listed and not words:
                raise InvalidArgument(f"cannot use ps option {word!r}: it needs a list of columns", hint=_HINT)
            chosen |= _listed(listed or words.pop(0))
    return {column: heading or processes.COLUMNS[column][0] for column, heading in (chosen or preset).items()}


def _listed(text: str) -> dict[str, str]:
    """`pid,user=WHO,args`: a heading of its own takes the rest of the text (ps(1), -o)."""
    found: dict[str, str] = {}
    while text:
        word, separator, rest = text.partition(",")
        name, own, heading = word.partition("=")
        column = processes.ALIASES.get(name, name)
        if column not in processes.COLUMNS:
            raise InvalidArgument(f"cannot show column {name!r}: there is none of this name", hint=", ".join(processes.COLUMNS))
        found[column] = heading + separator + rest if own else ""
        text = "" if own else rest
    return found
