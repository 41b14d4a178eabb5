"""Makes a container: its id, name, folder, id range and control groups, and the plan that starts it. On the start path of ``run``.

Order: everything that can be refused is refused before anything is made; then the record (engine/records.py), then what it names.
A failure on the way takes back what was made.

    containers/<id>/  config.json  state.json  status  hosts  resolv.conf  hostname  upper/  work/
"""

from __future__ import annotations

import fcntl
import os
import time

from estiba.engine import container_files, records
from estiba.engine.binder import Binder
from estiba.errors import AlreadyExists, CommandNotFound, DataLoss, EstibaError, FailedPrecondition
from estiba.linux import cgroup, facts, idmap
from estiba.oci.digest import hex_of
from estiba.oci.strict_json import dumps
from estiba.runtime.compile import Bindings
from estiba.runtime.options import MountRequest
from estiba.runtime.spec import build_spec, mappings
from estiba.store.layer_ids import highest_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.engine.machines import Machine
    from estiba.engine.resolve import Stack
    from estiba.linux.facts import HostFacts
    from estiba.linux.idmap import IdMaps
    from estiba.oci.digest import DiffID
    from estiba.plan.ops import Op
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store


class Created:
    """A container that can be launched: its `id`, `folder`, `spec`, the `plan`, the `record`, and the `binder` with its `bindings`."""

    __slots__ = ("binder", "bindings", "folder", "id", "plan", "record", "spec")

    def __init__(self, record: records.Record, spec: dict[str, Any], binder: Binder, plan: list[Op]) -> None:
        self.id = record.id
        self.folder = record.folder
        self.record = record
        self.spec = spec
        self.binder = binder
        self.bindings = binder.bindings
        self.plan = plan

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that the plan's slots name."""
        return [slot.descriptor for slot in self.bindings.slots]


def create(store: Store, settings: Settings, options: RunOptions, stack: Stack) -> Created:
    """Makes the container that `options` describes on the layers of `stack`.

    Raises InvalidArgument, NotFound, AlreadyExists (a name in use), FailedPrecondition and PermissionDenied (what this machine does
    not allow), DataLoss (a layer is missing), ResourceExhausted.
    """
    draft = Draft(store, settings, options, stack)
    try:
        draft.make()
        plan = draft.binder.plan()
    except BaseException:
        draft.undo()
        raise
    return Created(draft.record, draft.spec, draft.binder, plan)


def describe(store: Store, settings: Settings, options: RunOptions, stack: Stack) -> Created:
    """Returns what `create` would return, with nothing made and no descriptor open: for --dry-run."""
    draft = Draft(store, settings, options, stack, dry=True)
    draft.binder.open_sources()
    draft.binder.bind(-1)
    return Created(draft.record, draft.spec, draft.binder, draft.binder.plan())


class Draft:
    """A container on its way. `dry` opens nothing and makes nothing."""

    def __init__(self, store: Store, settings: Settings, options: RunOptions, stack: Stack, *, dry: bool = False) -> None:
        self.store = store
        self.settings = settings
        self.options = options
        self.stack = stack
        self.dry = dry
        self.record = _new_record(store, options)
        self._layer_maps = idmap.layer_maps(settings)
        self.record.slot = self._free_slot()
        _complete(options, self.record, store, stack)
        self.facts = self._facts()
        _check_store(self.facts, settings)
        self.machine = _machine(self) if options.isolation != "container" else None
        self.spec = build_spec(stack.config, options, self.machine.facts if self.machine else self.facts)
        self.layers = _unique(stack.layers)
        lowers = _lowers(store, stack, self.spec, self.facts.maps)
        if "devices" in self.spec["linux"]["resources"]:
            from estiba.engine.devices import complete_rules

            complete_rules(self.spec["linux"]["resources"]["devices"])
        resources = self.machine.resources(self.spec, self.facts) if self.machine else self.spec["linux"]["resources"]
        self.groups = self.facts.cgroups.groups(self.record.id, resources)
        self.record.cgroups = [group.path for group in self.groups]
        self.bindings = Bindings(self.facts.maps)
        self.bindings.lowers = lowers
        self.bindings.seccomp = _filter(options, self.spec, stack)
        self.binder = self._binder()
        self._status = -1

    def _binder(self) -> Binder:
        if self.machine is None:
            return Binder(self.bindings, self.record, self.spec, self.store, self.settings, self.options, self.facts, dry=self.dry)
        from estiba.engine.machines import MachineBinder

        return MachineBinder(self, self.machine)

    def _free_slot(self) -> int | None:
        if self.options.userns == "host" or self._layer_maps.kind != "root-range":
            return None
        return records.ranges(self.settings).free_slot(self.record.id)

    def _facts(self) -> HostFacts:
        slot = self.record.slot
        maps = self._layer_maps if slot is None else idmap.range_maps(records.ranges(self.settings).base(slot))
        return facts.gather(self.settings, maps, every_device=self.options.privileged)

    # --- making -----------------------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Makes everything, in the order of the record's lines."""
        self.binder.open_sources()
        self.record.write(self.settings)
        self._take_range()
        self._take_name()
        self._make_folder()
        self.binder.bind(self._status, [cgroup.make(group) for group in self.groups])

    def _take_range(self) -> None:
        slot = self.record.slot
        if slot is None:
            return
        ranges = records.ranges(self.settings)
        while not ranges.take(slot, self.record.id):
            slot = ranges.free_slot(self.record.id, after=slot)
            self.record.slot = slot
            self.record.write(self.settings)
            maps = idmap.range_maps(ranges.base(slot))
            self.facts.maps = self.bindings.maps = maps
            if self.machine is None:
                self.spec["linux"] |= mappings(maps)

    def _take_name(self) -> None:
        try:
            os.symlink(self.record.id, self.record.name)
        except FileExistsError:
            holder = os.readlink(self.record.name)
            raise AlreadyExists(
                f"cannot create container {self.options.name}: the name is in use by container {holder[:12]}",
                hint="choose another --name, or remove that container",
            ) from None

    def _make_folder(self) -> None:
        folder = self.record.folder
        os.mkdir(folder, 0o700)
        self._status = os.open(f"{folder}/status", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._status, fcntl.LOCK_EX)  # waits for the moment in which a sweep asks who holds it
        os.mkdir(f"{folder}/upper", 0o755)
        os.mkdir(f"{folder}/work", 0o755)
        durable = not self.options.rm
        _write(f"{folder}/hosts", container_files.hosts(self.options).encode("utf-8", "surrogateescape"), mode=0o644)
        _write(f"{folder}/resolv.conf", container_files.resolv_conf(self.options).encode("utf-8", "surrogateescape"), mode=0o644)
        _write(f"{folder}/hostname", f"{self.options.hostname or os.uname().nodename}\n".encode(), mode=0o644)
        _write(f"{folder}/config.json", dumps(self.spec), durable=durable)
        _write(f"{folder}/state.json", dumps(self._state()), durable=durable)

    def _state(self) -> dict[str, object]:
        return {
            "id": self.record.id,
            "name": self.options.name or self.record.id[:12],
            "created": time.time_ns(),
            "reference": self.stack.reference,
            "image": self.stack.image,
            "layers": self.stack.layers if self.machine is None else [self.machine.kernel.layer, *self.stack.layers],
            "command": self.spec["process"]["args"],
            "remove": self.options.rm,
            "volumes": [_volume(mount) for mount in self.options.mounts if mount.type != "tmpfs"],
            "labels": {**self.stack.config.labels, **self.options.labels},
            "stop_timeout": self.options.stop_timeout,
            "interactive": self.options.interactive,
            "log": self.options.log.state(),
        }

    def undo(self) -> None:
        """Takes back what was made so far; the errors of that are not the caller's error."""
        descriptors = {slot.descriptor for slot in self.bindings.slots} | ({self._status} if self._status >= 0 else set())
        for descriptor in descriptors:
            os.close(descriptor)
        take_back(self.store, self.settings, self.record)


def take_back(store: Store, settings: Settings, record: records.Record) -> None:
    """Removes a container that never ran, its folder too: without a record no sweep would empty the trash."""
    from estiba.store.layers import empty_trash

    record.remove = True
    records.release(settings, record)
    try:
        empty_trash(store, settings)
    except EstibaError:
        return  # the caller's own error is the one to tell


def _new_record(store: Store, options: RunOptions) -> records.Record:
    container_id = os.urandom(32).hex()
    record = records.Record(container_id, f"{store.containers}/{container_id}")
    record.trash = store.trash
    record.remove = options.rm
    record.name = f"{store.names}/{options.name or container_id[:12]}"
    return record


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


def _check_store(machine: HostFacts, settings: Settings) -> None:
    """Overlayfs takes no upper folder on overlayfs: the usual case is an engine inside a container."""
    if machine.store_type == "overlay":
        raise FailedPrecondition(
            f"cannot run a container: the store {settings.root} is on overlayfs, which cannot hold a container's changes",
            hint="choose a folder on a volume or a tmpfs with --root or ESTIBA_ROOT",
        )


def _machine(draft: Draft) -> Machine:
    from estiba.engine.machines import Machine

    return Machine(draft)


def _lowers(store: Store, stack: Stack, spec: dict[str, Any], maps: IdMaps) -> list[str]:
    """Returns the layers beneath the store's layers folder, topmost first.

    Raises CommandNotFound for an image without layers, DataLoss for a layer that is not there, FailedPrecondition for one with files
    of owners that the container does not have.
    """
    if not stack.layers:
        program = spec["process"]["args"][0]
        raise CommandNotFound(f"cannot execute {program}: the image {stack.reference} has no layers")
    room = sum(int(line.split(" ")[2]) for line in maps.uid_map)
    lowers = []
    for diff_id in _unique(stack.layers):
        highest = highest_id(store, diff_id)
        if highest is None:
            raise DataLoss(f"cannot run {stack.reference}: layer {diff_id} is missing from the store", hint="estiba system check --repair")
        if highest >= room and maps.kind != "single" and "uidMappings" in spec["linux"]:
            from estiba.engine.bind_errors import cannot_map

            raise cannot_map(store, diff_id, stack.reference, room)
        lowers.append(f"{hex_of(diff_id)}/fs")
    lowers.reverse()
    return lowers


def _unique(layers: list[DiffID]) -> list[DiffID]:
    if len(set(layers)) == len(layers):
        return layers
    from estiba.engine.stack_configs import unique_layers

    return unique_layers(layers)


def _filter(options: RunOptions, spec: dict[str, Any], stack: Stack) -> bytes | None:
    if options.privileged or options.seccomp == "unconfined":
        return None
    from estiba.runtime import capabilities, seccomp_default

    machine = os.uname().machine
    held = spec["process"]["capabilities"]["bounding"]
    small = set(held) <= set(capabilities.DEFAULT)
    if options.seccomp is None and small and stack.platform.architecture != "386" and machine in seccomp_default.FILTERS:
        return seccomp_default.FILTERS[machine]
    from estiba.engine.seccomp_filter import compile_filter

    return compile_filter(options.seccomp, machine, held, with_i386=stack.platform.architecture == "386")


def _volume(mount: Any) -> dict[str, object]:
    return {"source": mount.source, "target": mount.target, "read_only": mount.read_only, "recursive": mount.recursive}


def _write(path: str, data: bytes, *, mode: int = 0o600, durable: bool = False) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
        if durable:
            os.fsync(descriptor)
    except OSError as error:
        from estiba.store.publish import failure

        raise failure(error, f"write {path}") from error
    finally:
        os.close(descriptor)
