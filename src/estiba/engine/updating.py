"""The step from what a container was to what `update` was asked for, which a command that is killed in its middle leaves to the next one.

``<container's folder>/update.json`` is on the disk before anything is changed, and goes when all of it is. Members: ``groups``, a list of
groups with the limits to write and those that were there; ``processes``, such a pair for RLIMIT_NPROC, or null; ``files``, both texts of
each file. ``<runtime directory>/updating/<container id>`` is a link to the folder, by which the next command finds it.

It is finished, not taken back: a container that was given more memory may use it by now. What the kernel refuses is taken back.
"""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from estiba.engine import documents, records
from estiba.errors import DataLoss, EstibaError, FailedPrecondition
from estiba.linux import cgroup
from estiba.linux.cgroup_change import before, change, put_back
from estiba.linux.locks import Lock
from estiba.oci.strict_json import dumps
from estiba.store.publish import remove_file, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from estiba.engine.containers import Container
    from estiba.linux.cgroup import Group
    from estiba.store.layout import Store

    Pair = tuple[int, int]


def carry_out(
    store: Store, container: Container, groups: Sequence[Group], processes: Pair | None, files: Mapping[str, dict[str, Any]]
) -> None:
    """Gives `groups` their limits, the processes in them RLIMIT_NPROC, and the container's `files` these documents: all of it, or nothing.

    `processes` is what they have and what they get. By whoever has the container's lock. Raises FailedPrecondition for what the kernel
    refuses, and what `write_file` raises.
    """
    folder = container.folder
    step = {
        "name": container.name,
        "groups": [(group.path, group.writes, before(group.path, group.writes)) for group in groups],
        "processes": processes,
        "files": [(name, document, documents.read_json(f"{folder}/{name}")) for name, document in files.items()],
    }
    link = f"{store.runtime}/updating/{container.id}"
    os.makedirs(os.path.dirname(link), mode=0o700, exist_ok=True)
    try:
        os.symlink(folder, link)
    except FileExistsError:
        pass  # of one that was killed before it could begin
    write_file(store, f"{folder}/update.json", dumps(step), mode=0o600)
    try:
        _take(store, folder, step)
    finally:
        _forget(folder, link)


def finish(store: Store, folder: str) -> None:
    """Finishes what a killed `update` of this container began. By whoever has its lock."""
    try:
        step = documents.read_json(f"{folder}/update.json")
    except FileNotFoundError:
        return
    except DataLoss:
        remove_file(f"{folder}/update.json")  # `system check` tells of what it may have left
        return
    try:
        _take(store, folder, step)
    except EstibaError:
        return  # nobody is there to be told; it was taken back, or where not even that was possible, is left to the next command


def finish_all(store: Store) -> None:
    """As `finish`, for every container of this store; those that somebody changes at this moment are left to him."""
    for link in records.updating(store.runtime):
        try:
            folder = os.readlink(link)
        except FileNotFoundError:
            continue  # it has just been finished
        if os.path.dirname(folder) == store.containers or not os.path.exists(folder):
            finish_alone(store, folder)
            _forget(folder, link)


def finish_alone(store: Store, folder: str) -> None:
    """As `finish`, unless somebody has the container's lock. What fails is left to the next command."""
    try:
        with Lock(f"{folder}/lock", timeout=0, kind="container"):
            finish(store, folder)
    except EstibaError:
        return


def _forget(folder: str, link: str) -> None:
    if not os.path.exists(f"{folder}/update.json"):
        remove_file(link, durable=False)


def _take(store: Store, folder: str, step: Mapping[str, Any]) -> None:
    paths = [path for path, _, _ in step["groups"] if os.path.isdir(path)]  # it may have ended since
    try:
        for path, writes, _ in step["groups"]:
            if path in paths:
                change(path, writes)
        if step["processes"]:
            _raise_processes(step["name"], paths, step["processes"][1])
        _write(store, folder, [(name, document) for name, document, _ in step["files"]])
    except EstibaError:
        for path, _, writes in step["groups"]:
            put_back(path, writes)
        if step["processes"]:
            _lower_processes(paths, *step["processes"])
        _write(store, folder, [(name, document) for name, _, document in step["files"]])
        remove_file(f"{folder}/update.json")
        raise
    remove_file(f"{folder}/update.json")


def _write(store: Store, folder: str, files: Sequence[tuple[str, dict[str, Any]]]) -> None:
    for name, document in files:
        path = f"{folder}/{name}"
        try:
            if documents.read_json(path) != document:
                write_file(store, path, dumps(document), mode=0o600)
        except (FileNotFoundError, FailedPrecondition):
            if os.path.exists(folder):  # of --rm, and it has just ended
                raise


def _raise_processes(name: str, paths: Sequence[str], limit: int) -> None:
    try:
        for pid, hard in _processes(paths):
            if hard != resource.RLIM_INFINITY and (limit == resource.RLIM_INFINITY or hard < limit):
                _limit_process(pid, limit)
    except PermissionError as error:
        raise FailedPrecondition(
            f"cannot update container {name}: to raise RLIMIT_NPROC of its processes takes CAP_SYS_RESOURCE",
            hint="stop it first: its next start is not limited by what it had",
        ) from error


def _lower_processes(paths: Sequence[str], limit: int, now: int) -> None:
    try:
        for pid, hard in _processes(paths):
            if hard == now:
                _limit_process(pid, limit)
    except PermissionError:
        return  # then nothing was raised either


def _processes(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The processes of these groups, each with its RLIMIT_NPROC."""
    for pid in {pid for path in paths for pid in cgroup.members(path)}:
        try:
            yield pid, resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
        except ProcessLookupError:
            continue


def _limit_process(pid: int, limit: int) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_NPROC, (limit, limit))
    except ProcessLookupError:
        return  # it has just ended
