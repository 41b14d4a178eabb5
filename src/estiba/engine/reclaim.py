"""What a container held on this machine is taken back, by the record of it: from one that ended, or whose keeper and monitor were killed.

A container is dead when nobody holds the lock of its status file and its creator, if it never ran, is gone. On the start path.
"""

from __future__ import annotations

import errno
import os
import time

from estiba.engine import event_log, names, records, status
from estiba.linux import process
from estiba.linux.locks import try_flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.engine.records import Record

#: A start looks at so many records at most; what is left is the next command's. It bounds the cost with many containers.
SWEPT_PER_START = 32
_KILL_ROUNDS = 50
_ORPHAN_MS = 2000


def is_dead(record: Record) -> bool:
    """Tells whether nothing of the container lives."""
    return not status.is_held(f"{record.folder}/status") and (_has_run(record) or _creator_is_dead(record))


def _has_run(record: Record) -> bool:
    try:
        return os.stat(f"{record.folder}/status").st_size > 0
    except OSError:
        return False


def _creator_is_dead(record: Record) -> bool:
    pid, _, started = record.creator.partition(" ")
    return not pid.isdigit() or process.start_time(int(pid)) != started


def finish(settings: Settings, record: Record) -> None:
    """Releases what a container holds whose helper this process has waited for: one that failed early has not done it itself."""
    if os.path.exists(f"{records.live_folder(settings)}/{record.id}") and not status.is_held(f"{record.folder}/status"):
        _release_dead(settings, record, mine=True)


def release(settings: Settings, record: Record) -> None:
    """Takes back everything that the record names, then the record. What is gone already is passed over.

    By whoever holds the lock of the status file, where there is one. A group with processes that outlived their keeper is emptied first.
    When a group or the name cannot be removed the record stays for the next command.
    """
    for path in records.stopped(settings.runtime_dir):
        if path.endswith(record.id):
            from estiba.engine.freeze import thaw

            thaw(path)
    subject = _end_orphan(settings, record)
    gone = [_remove_group(path) for path in record.cgroups]
    if record.remove and _was_only_asked(record):
        names.will_stay(record.folder)
    name = names.goes(record.folder) if record.remove else ""
    if name or not os.path.exists(f"{record.folder}/state.json"):
        if record.name and not names.release(f"{os.path.dirname(record.name)}/{name}" if name else record.name, record.id):
            gone.append(False)
        try:
            subject = subject or (_subject(settings, record) if name else None)
            os.rename(record.folder, f"{record.trash}/{record.id}")
            if subject is not None:
                event_log.container(subject, "destroy")
        except FileNotFoundError:
            pass
    if record.slot is not None:
        records.ranges(settings).release(record.slot, record.id)
    records.unlink(f"{records.attach_folder(settings)}/{record.id}")
    if all(gone):
        records.unlink(f"{records.live_folder(settings)}/{record.id}")


def _was_only_asked(record: Record) -> bool:
    """Tells whether a `start` of a container that never ran was killed before there was anything to tell."""
    now = status.read(f"{record.folder}/status", mine=True)
    return now.asked == "start" and not now.ran and not now.error


def _subject(settings: Settings, record: Record) -> Container | None:
    """The container of a record, where it was finished and can be read."""
    from estiba.engine.containers import Container
    from estiba.engine.documents import read_json
    from estiba.errors import DataLoss

    try:
        return Container(record.folder, settings.runtime_dir, read_json(f"{record.folder}/state.json"))
    except (FileNotFoundError, DataLoss):
        return None


def _end_orphan(settings: Settings, record: Record) -> Container | None:
    """Kills a program whose watchers were killed, and writes down and tells that it is over: nobody lived to do so. Returns its
    container.
    """
    path = f"{record.folder}/status"
    orphan = status.read(path, mine=True).orphan
    if orphan is None:
        return None
    import select

    from estiba.linux import signals

    descriptor = process.pidfd(*orphan)
    if descriptor is not None:
        try:
            signals.pidfd_send_signal(descriptor, signals.SIGKILL)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(_ORPHAN_MS)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)
    status.lost(path)
    subject = _subject(settings, record)
    if subject is not None:
        event_log.container(subject, "die", exitCode=str(status.UNKNOWN_CODE))
    return subject


def _release_dead(settings: Settings, record: Record, *, mine: bool = False) -> bool:
    """Releases under the lock of the status file, which a start takes first of all: what the next run holds is not touched.

    `mine`: this process made the record, and has waited for the helper, so that its own life means nothing.
    """
    try:
        descriptor = os.open(f"{record.folder}/status", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        release(settings, record)  # its creator was killed before there was one
        return True
    try:
        if not try_flock(descriptor):
            return False
        again = records.read(settings, record.id)
        ended = mine and again is not None and again.creator == records.this_process()
        if again is None or not (ended or _has_run(again) or _creator_is_dead(again)):
            return False
        release(settings, again)
    finally:
        os.close(descriptor)
    return True


def _remove_group(path: str) -> bool:
    from estiba.linux import cgroup

    for _ in range(_KILL_ROUNDS):
        if cgroup.remove(path):
            return True
        kill_members(path)
    return False


def kill_members(path: str) -> None:
    """Kills the processes of a container's group: by cgroup.kill where there is one, else each through a pidfd that is opened
    before its membership is checked again, so that a number that was given away meanwhile is never signalled.
    """
    from estiba.linux import cgroup, signals

    try:
        descriptor = os.open(f"{path}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)  # not open(): to make a file there is EACCES
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # no such file on version 1; the group is gone
            raise
        for pid in cgroup.members(path):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                if pid in cgroup.members(path):
                    signals.pidfd_send_signal(descriptor, signals.SIGKILL)
            except ProcessLookupError:
                pass  # it has just ended
            finally:
                os.close(descriptor)
    time.sleep(0.002)  # the kernel takes a moment to end them; `_remove_group` tries again


def sweep(settings: Settings, limit: int | None = None) -> list[str]:
    """Releases what dead containers hold; looks at `limit` records at most. Returns the ids of those released.

    A container that a dead command froze (engine/freeze.py) goes on.
    """
    if records.stopped(settings.runtime_dir):
        from estiba.engine.freeze import thaw_abandoned

        thaw_abandoned(settings)
    found = records.names_in(records.live_folder(settings))
    if limit is not None and len(found) > limit:  # from another place each time, or those behind many that live would never be looked at
        first = time.monotonic_ns() % len(found)
        found = (found[first:] + found[:first])[:limit]
    swept = []
    for container_id in found:
        if status.is_held(f"{settings.root}/containers/{container_id}/status"):
            continue  # the usual case in less time: it is one of this store, and lives
        record = records.read(settings, container_id)
        if record is not None and is_dead(record) and _release_dead(settings, record):
            swept.append(container_id)
    return swept
