"""Makes a container: its id, name, folder, id range and control groups, and the plan that starts it. On the start path of ``run``.

Order: everything that can be refused is refused before anything is made; then the record (engine/records.py), then what it names.
A failure on the way takes back what was made.

    containers/<id>/  config.json  state.json  status  hosts  resolv.conf  hostname  upper/  work/
"""

from __future__ import annotations

import fcntl
import os
import time

from estiba.engine import container_files, event_log, names, records, stored_options, supervision
from estiba.engine.asked import asked
from estiba.engine.launching import Launching, take_back, unique
from estiba.errors import AlreadyExists, OnFailure
from estiba.oci.strict_json import dumps
from estiba.runtime.options import MountRequest
from estiba.runtime.spec import build_spec, entrypoint_words
from estiba.store.publish import sync_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.engine.launching import Created
    from estiba.engine.machines import Machine
    from estiba.engine.resolve import Stack
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store


def create(store: Store, settings: Settings, options: RunOptions, stack: Stack, reason: str = "") -> Created:
    """Makes the container that `options` describes on the layers of `stack`, on the rung that `selection.select` left in them and for that
    `reason`.

    Raises InvalidArgument, NotFound, AlreadyExists (a name in use), FailedPrecondition and PermissionDenied (what this machine does
    not allow), DataLoss (a layer is missing), ResourceExhausted.
    """
    draft = Draft(store, settings, options, stack, reason)
    with OnFailure(draft.undo):
        draft.make()
        return draft.created()


def create_stopped(store: Store, settings: Settings, options: RunOptions, stack: Stack, reason: str = "") -> str:
    """Makes the container as `create` does, but for what only a running one needs; `start` runs it. Returns its id."""
    draft = Draft(store, settings, options, stack, reason)
    with OnFailure(draft.undo):
        draft.keep()
    return draft.record.id


def describe(store: Store, settings: Settings, options: RunOptions, stack: Stack, reason: str = "") -> Created:
    """Returns what `create` would return, with nothing made and no descriptor open: for --dry-run."""
    draft = Draft(store, settings, options, stack, reason, dry=True)
    draft.binder.open_sources()
    draft.binder.bind(-1)
    return draft.created()


class Draft(Launching):
    """A new container on its way."""

    def __init__(self, store: Store, settings: Settings, options: RunOptions, stack: Stack, reason: str = "", *, dry: bool = False) -> None:
        super().__init__(store, settings, options, _new_record(store, options), dry=dry)
        self.stack = stack
        self.name = os.path.basename(self.record.name)
        self.reason = reason
        _complete(options, self.record, store, stack)
        self.gather()
        self.machine = self._machine() if options.isolation != "container" else None
        self.spec = build_spec(stack.config, options, self.machine.facts if self.machine else self.facts)
        self.layers = unique(stack.layers)
        self.check = _check(options, stack)
        self.supervised = options.restart != "no" or supervision.has_check(self.check)
        self.labels = {**stack.config.labels, **options.labels}
        self.actor = event_log.Actor(self.record.folder, settings.runtime_dir, self.name, stack.reference, self.labels)
        self.told = False
        self._unsynced: list[str] = []
        self.settle(stack.reference, stack.platform.architecture)

    def _machine(self) -> Machine:
        from estiba.engine.machines import Machine

        return Machine(self, architecture=self.stack.platform.architecture, nano_cpus=self.options.nano_cpus)

    def seccomp_path(self) -> str:
        return self.options.seccomp or ""

    # --- making -----------------------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Makes everything, in the order of the record's lines."""
        self.binder.open_sources()
        self.record.write(self.settings)
        self.take_range()
        self._take_name()
        self._make_folder()
        self.bind(self.actor)
        self._publish("create", *(() if self.options.detach else ("attach",)))

    def keep(self) -> None:
        """Makes what stays on the disk, and nothing that runs: ranges and control groups are for `start`."""
        self.binder.open_sources()
        self.record.slot, self.record.cgroups, self.record.remove = None, [], False
        self.record.write(self.settings)
        self._take_name()
        self._make_folder()
        self._publish("create")
        self.close()
        records.forget(self.settings, self.record.id)

    def _take_name(self) -> None:
        while (holder := names.take(self.store, self.settings, self.record.id, self.name)) is not None:
            if self.options.name:
                raise AlreadyExists(
                    f"cannot create container {self.name}: the name is in use by container {holder[:12]}",
                    hint="choose another --name, or remove that container",
                )
            self.name = names.free_name(self.store)
            self.record.name = f"{self.store.names}/{self.name}"
            self.record.write(self.settings)
        self.actor.name = self.name

    def _make_folder(self) -> None:
        """Makes everything but the container's own name: `_publish` gives it that."""
        folder = self.record.folder
        os.mkdir(folder, 0o700)
        self._status = os.open(f"{folder}/status", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._status, fcntl.LOCK_EX)  # waits for the moment in which a sweep asks who holds it
        os.mkdir(f"{folder}/upper", 0o755)
        os.mkdir(f"{folder}/work", 0o755)
        _write(f"{folder}/hosts", container_files.hosts(self.options).encode("utf-8", "surrogateescape"), mode=0o644)
        _write(f"{folder}/resolv.conf", container_files.resolv_conf(self.options).encode("utf-8", "surrogateescape"), mode=0o644)
        _write(f"{folder}/hostname", f"{self.options.hostname or os.uname().nodename}\n".encode(), mode=0o644)
        if self.record.remove:
            names.will_go(folder, self.name)
        files = {f"{folder}/config.json": dumps(self.spec), f"{folder}/state.json.new": dumps(self._state())}
        if self.profile is not None:
            files[f"{folder}/seccomp.json"] = self.profile
        for path, data in files.items():
            _write(path, data, lasts=not self.options.rm)
        self._unsynced = [] if self.options.rm else [*files]

    def _publish(self, *told: str) -> None:
        """Waits until it is whole on the disk, too. From now on there is a container, and events tell of it."""
        for path in self._unsynced:
            sync_file(path)
        os.rename(f"{self.record.folder}/state.json.new", f"{self.record.folder}/state.json")
        event_log.container(self.actor, *told)
        self.told = True

    def _state(self) -> dict[str, object]:
        return {
            "id": self.record.id,
            "name": self.name,
            "created": time.time_ns(),
            "reference": self.stack.reference,
            "image": self.stack.image,
            "layers": self.stack.layers if self.machine is None else [*self.machine.layers, *self.stack.layers],
            "command": self.spec["process"]["args"],
            "entrypoint": entrypoint_words(self.stack.config, self.options),
            "remove": self.options.rm,
            "volumes": [_volume(mount) for mount in self.options.mounts if mount.type != "tmpfs"],
            "labels": self.labels,
            "stop_timeout": self.options.stop_timeout,
            "interactive": self.options.interactive,
            "log": self.options.log.state(),
            "platform": self.stack.platform.text,
            "restart": {"policy": self.options.restart, "maximum": self.options.restart_maximum},
            **({"health": self.check} if self.check else {}),
            "options": stored_options.state(self.options),
            **({} if self.machine is None else {"kernel": self.machine.kernel.state()}),
            **({"reason": self.reason} if self.reason else {}),
            "asked": asked(self.options, self.stack.config),
        }

    def undo(self) -> None:
        """Takes back what was made so far; the errors of that are not the caller's error."""
        self.close()
        take_back(self.store, self.settings, self.record, new=True)
        if self.told:
            event_log.container(self.actor, "destroy")


def _new_record(store: Store, options: RunOptions) -> records.Record:
    container_id = os.urandom(32).hex()
    record = records.Record(container_id, f"{store.containers}/{container_id}")
    record.trash = store.trash
    record.remove = options.rm
    record.name = f"{store.names}/{options.name or names.free_name(store)}"
    return record


def _check(options: RunOptions, stack: Stack) -> dict[str, object]:
    """What is to be checked of the container's health, empty where neither the caller nor the image says anything of it."""
    if options.health is None and stack.config.healthcheck is None:
        return {}
    from estiba.engine import health

    return health.wanted(options, stack.config)


def _complete(options: RunOptions, record: records.Record, store: Store, stack: Stack) -> None:
    """Fills in what depends on the id, on the image's volumes, or on files and containers that the options name."""
    if options.uts == "private" and not options.hostname:
        options.hostname = os.uname().nodename if options.network == "host" else record.id[:12]
    if options.env_files:
        read = [entry for path in options.env_files for entry in container_files.read_env_file(path)]
        options.env, options.env_files = read + options.env, []
    for path in options.label_files:
        options.labels = {**container_files.read_label_file(path), **options.labels}
    options.label_files = []
    if options.devices:
        from estiba.engine.devices import expand

        options.devices = expand(options.devices)
    if options.volumes_from:
        from estiba.engine.volumes_from import add_volumes

        add_volumes(store, options)
    if stack.config.volumes or options.mounts:
        _complete_volumes(options, record, stack)


def _complete_volumes(options: RunOptions, record: records.Record, stack: Stack) -> None:
    """Gives a volume without a source a folder of the container's own; the image's count where nothing else is mounted."""
    taken = {mount.target for mount in options.mounts}
    options.mounts += [MountRequest("volume", path) for path in stack.config.volumes if path not in taken]
    own = [mount for mount in options.mounts if mount.type == "volume"]
    for number, mount in enumerate(own):
        mount.source = f"{record.folder}/volumes/{number}"


def _volume(mount: Any) -> dict[str, object]:
    return {"source": mount.source, "target": mount.target, "read_only": mount.read_only, "recursive": mount.recursive}


def _write(path: str, data: bytes, *, mode: int = 0o600, lasts: bool = False) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
        if lasts:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # begins to write it to the disk (mm/fadvise.c)
    except OSError as error:
        from estiba.store.publish import failure

        raise failure(error, f"write {path}") from error
    finally:
        os.close(descriptor)
