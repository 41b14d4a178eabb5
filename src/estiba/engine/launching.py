"""What a container is given to run: its id range, control groups, opened files, and the plan. On the start path.

`Draft` (create.py) does this for a new container, `Stored` (start.py) for one that is on the disk already.
"""

from __future__ import annotations

import os

from estiba.engine import event_log, reclaim, records
from estiba.engine.binder import Binder
from estiba.errors import AlreadyExists, CommandNotFound, DataLoss, EstibaError, FailedPrecondition, OnFailure, PermissionDenied
from estiba.linux import cgroup, facts, idmap
from estiba.oci.digest import hex_of
from estiba.oci.platform import host_platform
from estiba.runtime.compile import Bindings
from estiba.runtime.launch import Launch
from estiba.runtime.spec import mappings
from estiba.store.layer_ids import highest_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.engine.event_log import Subject
    from estiba.engine.machines import Machine
    from estiba.linux.facts import HostFacts
    from estiba.linux.idmap import IdMaps
    from estiba.oci.digest import DiffID
    from estiba.plan.ops import Op
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store


class Created:
    """A container that can be launched: its `id`, `folder`, `spec`, the `plan`, the `record`, the `binder` with its `bindings`,
    whether it is `supervised`, and the `reason` for its rung.
    """

    __slots__ = ("binder", "bindings", "folder", "id", "plan", "reason", "record", "spec", "supervised")

    def __init__(
        self, record: records.Record, spec: dict[str, Any], binder: Binder, plan: list[Op], *, supervised: bool, reason: str
    ) -> None:
        self.id = record.id
        self.folder = record.folder
        self.record = record
        self.spec = spec
        self.binder = binder
        self.bindings = binder.bindings
        self.plan = plan
        self.supervised = supervised
        self.reason = reason

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that the plan's slots name."""
        return [slot.descriptor for slot in self.bindings.slots]


class Launching:
    """A container on its way to run. `dry` opens nothing and makes nothing.

    A subclass sets `spec`, `machine`, `layers` and `supervised`, then calls `settle`. `reason` says why its rung is the one that it is,
    where that was not the caller's choice alone.
    """

    spec: dict[str, Any]
    machine: Machine | None
    layers: list[DiffID]
    supervised: bool

    def __init__(self, store: Store, settings: Settings, options: RunOptions, record: records.Record, *, dry: bool = False) -> None:
        self.store = store
        self.settings = settings
        self.options = options
        self.record = record
        self.reason = ""
        self.dry = dry
        self._layer_maps = idmap.layer_maps(settings)
        record.slot = self._free_slot()
        self._status = -1

    def gather(self) -> None:
        """Reads the facts of the host. Raises FailedPrecondition for a store that cannot hold a container's changes."""
        slot = self.record.slot
        maps = self._layer_maps if slot is None else idmap.range_maps(records.ranges(self.settings).base(slot))
        self.facts: HostFacts = facts.gather(self.settings, maps, every_device=self.options.privileged)
        _check_store(self.facts, self.settings)

    def settle(self, reference: str, architecture: str) -> None:
        """Decides what does not need anything to be made: layers, control groups, the filter."""
        lowers = lowers_of(self.store, self.layers, reference, self.spec, self.facts.maps)
        resources = self.spec["linux"]["resources"]
        if "devices" in resources or "blockIO" in resources:
            from estiba.engine.devices import complete_limits

            complete_limits(resources)
        resources = self.machine.resources(self.spec, self.facts) if self.machine else resources
        # Who stays can be limited while it runs: it has a group for that from the beginning.
        also = cgroup.TRACKED if self.options.rm and not self.options.detach else cgroup.CHANGEABLE
        self.groups = self.facts.cgroups.groups(self.record.id, resources, parent=self.options.cgroup_parent or cgroup.PARENT, also=also)
        self.record.cgroups = [group.path for group in self.groups]
        self.bindings = Bindings(self.facts.maps)
        self.bindings.lowers = lowers
        self.profile = profile_of(self.options, self.seccomp_path())
        cpu = self.machine.cpu if self.machine else os.uname().machine
        self.bindings.seccomp = filter_of(self.options, self.profile, self.spec, architecture, cpu)
        self.binder = self._binder()
        if self.machine is None and architecture != host_platform().architecture:
            from estiba.engine import foreign

            if not foreign.is_native(architecture, host_platform().architecture):
                self.binder.interpreter = foreign.find(architecture, self.options)

    def seccomp_path(self) -> str:
        """Where the caller's system-call profile is read: later in the container's folder, for it is the container's for good."""
        return stored_profile(self.record.folder)

    def _binder(self) -> Binder:
        if self.machine is None:
            return Binder(self.bindings, self.record, self.spec, self.store, self.settings, self.options, self.facts, dry=self.dry)
        from estiba.engine.machines import MachineBinder

        return MachineBinder(self, self.machine)

    def _free_slot(self) -> int | None:
        if self.options.userns == "host" or self._layer_maps.kind != "root-range":
            return None
        return records.ranges(self.settings).free_slot(self.record.id)

    def take_range(self) -> None:
        """Takes the id range of the record, or the next that is free."""
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

    def hold(self, status: int) -> None:
        """Takes the open status file of the container, locked."""
        self._status = status

    def bind(self, subject: Subject) -> None:
        """Makes the control groups and opens what the plan names; `subject` is what events tell of."""
        folder, name = os.path.split(event_log.path_for(subject))
        slot = self.bindings.add(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self.bindings.events = (slot, name, *event_log.lines(subject))
        self.binder.bind(self._status, [(cgroup.make(group), group.devices) for group in self.groups])

    def created(self) -> Created:
        """The result: the plan of what was bound."""
        return Created(self.record, self.spec, self.binder, self.binder.plan(), supervised=self.supervised, reason=self.reason)

    def close(self) -> None:
        """Closes what was opened so far."""
        for descriptor in {slot.descriptor for slot in self.bindings.slots} | ({self._status} if self._status >= 0 else set()):
            os.close(descriptor)


def prepare(store: Store, settings: Settings, options: RunOptions, created: Created) -> Launch:
    """Makes the launch of a created container, and its --cidfile. What was made is taken back when that fails."""
    with OnFailure(give_up, store, settings, created):
        launch = Launch(settings, created.plan, created.descriptors)
        if options.cidfile:
            write_cidfile(options.cidfile, created.id)
    return launch


def wait(settings: Settings, created: Created, launch: Launch) -> int:
    """Launches the container as a child, and returns its exit code when nothing of it is left."""
    code = launch.spawn().wait()
    reclaim.finish(settings, created.record)
    return code


def give_up(store: Store, settings: Settings, created: Created) -> None:
    """Takes back a new container that was not launched."""
    for descriptor in created.descriptors:
        os.close(descriptor)
    take_back(store, settings, created.record, new=True)


def write_cidfile(path: str, container_id: str) -> None:
    """Writes the id into a file that must be new. Raises AlreadyExists, PermissionDenied."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise AlreadyExists(f"cannot write --cidfile {path}: the file exists", hint="remove it, or name another") from None
    except OSError as error:
        raise PermissionDenied(f"cannot write --cidfile {path}: {(error.strerror or 'failed').lower()}") from error
    os.write(descriptor, container_id.encode("ascii"))
    os.close(descriptor)


def take_back(store: Store, settings: Settings, record: records.Record, *, new: bool) -> None:
    """Takes back what a container that did not run was given; a `new` one goes altogether: without a record no sweep would empty the
    trash.
    """
    from estiba.store.layers import empty_trash

    if not new:
        record.remove = False
    else:
        records.unlink(f"{record.folder}/state.json")  # from now on it is no container
    reclaim.release(settings, record)
    if not new:
        return
    try:
        empty_trash(store, settings)
    except EstibaError:
        return  # the caller's own error is the one to tell


def _check_store(machine: HostFacts, settings: Settings) -> None:
    """Overlayfs takes no upper folder on overlayfs: the usual case is an engine inside a container."""
    if machine.store_type == "overlay":
        raise FailedPrecondition(
            f"cannot run a container: the store {settings.root} is on overlayfs, which cannot hold a container's changes",
            hint="choose a folder on a volume or a tmpfs with --root or ESTIBA_ROOT",
        )


def lowers_of(store: Store, layers: list[DiffID], reference: str, spec: dict[str, Any], maps: IdMaps) -> list[str]:
    """Returns the layers beneath the store's layers folder, topmost first.

    Raises CommandNotFound for an image without layers, DataLoss for a layer that is not there, FailedPrecondition for one with files
    of owners that the container does not have.
    """
    if not layers:
        program = spec["process"]["args"][0]
        raise CommandNotFound(f"cannot execute {program}: the image {reference} has no layers")
    room = sum(int(line.split(" ")[2]) for line in maps.uid_map)
    lowers = []
    for diff_id in layers:
        highest = highest_id(store, diff_id)
        if highest is None:
            raise DataLoss(f"cannot run {reference}: layer {diff_id} is missing from the store", hint="estiba system check --repair")
        if highest >= room and maps.kind != "single" and "uidMappings" in spec["linux"]:
            from estiba.engine.bind_errors import cannot_map

            raise cannot_map(store, diff_id, reference, room)
        lowers.append(f"{hex_of(diff_id)}/fs")
    lowers.reverse()
    return lowers


def unique(layers: list[DiffID]) -> list[DiffID]:
    """The layers without those that are there twice: an overlay refuses one layer twice."""
    if len(set(layers)) == len(layers):
        return layers
    from estiba.engine.stack_configs import unique_layers

    return unique_layers(layers)


def stored_profile(folder: str) -> str:
    """The file of a container's own system-call profile."""
    return f"{folder}/seccomp.json"


def profile_of(options: RunOptions, path: str) -> bytes | None:
    """The caller's system-call profile, from `path`, where there is one. Raises InvalidArgument when it cannot be read."""
    if options.privileged or options.seccomp in (None, "unconfined"):
        return None
    from estiba.engine.seccomp_filter import read_profile

    return read_profile(path)


def filter_of(options: RunOptions, profile: bytes | None, spec: dict[str, Any], architecture: str, machine: str) -> bytes | None:
    """The system-call filter of a container's programs, None where it has none (seccomp(2)). `profile` is the caller's, `machine` the
    processor of its kernel (uname(2)).

    Raises InvalidArgument, DataLoss.
    """
    if options.privileged or options.seccomp == "unconfined":
        return None
    from estiba.runtime import capabilities, seccomp_default

    held = spec["process"]["capabilities"]["bounding"]
    small = set(held) <= set(capabilities.DEFAULT)
    if options.seccomp is None and small and architecture != "386" and machine in seccomp_default.FILTERS:
        return seccomp_default.FILTERS[machine]
    from estiba.engine.seccomp_filter import compile_filter

    return compile_filter(profile, options.seccomp or "", machine, held, with_i386=architecture == "386")
