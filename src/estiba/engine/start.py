"""`start`: a container that is on the disk runs again, or for the first time. On the start path."""

from __future__ import annotations

import os

from estiba.engine import containers, event_log, names, reclaim, records, status, stored_options, supervision
from estiba.engine.launching import Launching, take_back
from estiba.errors import CannotExecute, CommandNotFound, Conflict, DataLoss, LaunchFailed, NotFound, OnFailure
from estiba.oci.digest import DiffID
from estiba.oci.platform import parse_platform
from estiba.runtime.launch import Launch
from estiba.runtime.spec import mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.engine.launching import Created
    from estiba.engine.machines import Machine
    from estiba.errors import EstibaError
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store


class Stored(Launching):
    """A container of the store on its way to run."""

    def __init__(self, store: Store, settings: Settings, container: Container) -> None:
        super().__init__(store, settings, _options(container), _record(store, container))
        self.container = container
        self.supervised = supervision.is_wanted(container)
        self.gather()
        self.spec = container.spec()
        layers = [DiffID(text) for text in container.layers]
        self.machine = self._machine(container) if container.kernel else None
        self.layers = layers[len(self.machine.layers) :] if self.machine else layers
        if self.machine is None and "uidMappings" in self.spec["linux"]:
            self.spec["linux"] |= mappings(self.facts.maps)
        self.settle(container.reference, parse_platform(container.platform).architecture)

    def _machine(self, container: Container) -> Machine:
        from estiba.engine import kernels
        from estiba.engine.machines import Machine

        cpu = self.spec["linux"]["resources"].get("cpu", {})
        nano_cpus = cpu["quota"] * 10**9 // cpu["period"] if cpu.get("quota", -1) > 0 and cpu.get("period") else None
        return Machine(self, kernels.of_state(container.kernel, f"{container.folder}/state.json"), nano_cpus=nano_cpus)

    def make(self) -> None:
        """Makes what a running container needs. Its status file is locked already."""
        self.binder.open_sources()
        self._forget_files()
        self.record.write(self.settings)
        if self.record.remove:
            status.ask(f"{self.record.folder}/status", "start")  # it was there before: should this be killed, it stays (reclaim.release)
            names.will_go(self.record.folder, os.path.basename(self.record.name))
        else:
            names.will_stay(self.record.folder)  # also where an `rm -f` did not come to its end
        self.take_range()
        self.bind(self.container)

    def _forget_files(self) -> None:
        """Takes away what is made for each run: nodes of devices, and of --rm the work folder, whose mark `volatile` the kernel takes for
        that of a crash (overlayfs.rst). The container may have filled them, so it is the trash that empties them.
        """
        folder = self.record.folder
        for name in ("dev", "devices", *(("work",) if self.record.remove else ())):
            try:
                os.rename(f"{folder}/{name}", f"{self.store.trash}/{os.urandom(16).hex()}")
            except FileNotFoundError:
                continue
        if self.record.remove:
            os.mkdir(f"{folder}/work", 0o755)

    def undo(self) -> None:
        """Takes back what was made; the container stays as it was."""
        self.close()
        take_back(self.store, self.settings, self.record, new=False)


def prepare(
    store: Store,
    settings: Settings,
    container: Container,
    *,
    attached: bool,
    stdin: bool = True,
    restarts: int = 0,
    again: bool = False,
    detach_keys: bytes | None = None,
) -> Created | None:
    """Returns what launches the container, None when it runs already.

    Parameters: `attached`, whether the caller's streams are the program's until it ends; `stdin`, its input as well; `restarts`, how
    often its supervisor has started it with this time, 0 for a user's start; `again`, should this process be killed before the program is
    executed, the container is looked after as one whose last run has just ended; `detach_keys`, else Docker's.
    Raises NotFound (removed meanwhile), Conflict (it is paused), and what `create.create` raises.
    """
    with containers.lock(container):
        container = containers.again(store, container)
        held = containers.hold(container)
        if held is None:
            if container.status == "paused":
                raise Conflict(f"cannot start container {container.name}: it is paused", hint=f"estiba unpause {container.name}")
            return None
        with OnFailure(os.close, held):
            containers.unmounted(container)
            status.shorten(f"{container.folder}/status")
            _forget_the_last_run(settings, container)
            stored = Stored(store, settings, container)
        stored.hold(held)
        with OnFailure(stored.undo):
            stored.options.interactive = container.interactive
            stored.options.detach_keys = detach_keys or stored.options.detach_keys
            stored.make()
            stored.bindings.attached = attached
            stored.bindings.stdin = int(container.interactive and (stdin or not attached))
            if stored.supervised:
                path = f"{container.folder}/status"
                status.ask(path, "restart" if restarts else "start", restarts)
                supervision.ensure(settings, container.id, container.folder, 0 if again else os.stat(path).st_size)
            return stored.created()


def _forget_the_last_run(settings: Settings, container: Container) -> None:
    """Takes back what watchers that were killed left, the program itself too."""
    left = records.read(settings, container.id)
    if left is not None:
        reclaim.release(settings, left)


def start(store: Store, settings: Settings, name: str, *, again: bool = False) -> str:
    """Starts a container in the background, and returns its id when its program was executed; one that runs is left alone.
    `again` is as for `prepare`.

    Raises NotFound, Conflict (an ambiguous id), and what `prepare` and `spawn` raise.
    """
    container = containers.find(store, name)
    created = prepare(store, settings, container, attached=False, again=again)
    if created is not None:
        spawn(settings, created)
    return container.id


def wanted(store: Store, names: Sequence[str]) -> list[str]:
    """Of the containers of these names, or of all, those that do not run and that their restart policy brings back after a boot: always, or
    unless-stopped where nobody stopped them. Raises NotFound, Conflict (an ambiguous id).
    """
    found = [containers.find(store, name) for name in names] if names else containers.list_containers(store, [])
    return [
        container.name
        for container in found
        if not container.pid and (container.restart == "always" or (container.restart == "unless-stopped" and container.asked != "stop"))
    ]


def spawn(settings: Settings, created: Created) -> None:
    """Launches a container in the background and waits until its program was executed.

    Raises CommandNotFound, CannotExecute, LaunchFailed with what the helper reports.
    """
    report = os.memfd_create("estiba-report", os.MFD_CLOEXEC)
    try:
        created.bindings.report = created.bindings.add(os.dup(report))
        launch = Launch(settings, created.binder.plan(), created.descriptors)
        if launch.spawn().wait() == 0:
            return
        error = launch_failure(os.pread(report, 4096, 0), "start container")
        reclaim.finish(settings, created.record)
        raise error
    finally:
        os.close(report)


def launch_failure(record: bytes, verb: str) -> EstibaError:
    """The helper's failure record (helper/PROTOCOL.md) as an error: `cannot <verb>: ...`."""
    text, _, hint = record.decode("utf-8", "replace").rstrip("\n").partition("\t")
    kind, _, rest = text.partition(" ")
    step, _, rest = rest.partition(" ")
    kinds = {"not-found": CommandNotFound, "cannot-execute": CannotExecute}
    words = rest.partition(" ")[2]
    return kinds.get(kind, LaunchFailed)(f"cannot {verb}: {step} {words}".rstrip(), hint=hint or None)


def attached(
    store: Store, settings: Settings, name: str, *, stdin: bool, detach_keys: bytes | None = None, stay: bool = False
) -> int:
    """`start -a`: starts a container with the caller's streams, and exits (or returns) with its code.

    Raises Conflict when it runs already.
    """
    container = containers.find(store, name)
    created = prepare(store, settings, container, attached=True, stdin=stdin, detach_keys=detach_keys)
    if created is None:
        raise Conflict(f"cannot start container {container.name} with its streams: it runs already", hint=f"estiba attach {container.name}")
    event_log.container(container, "attach")
    launch = Launch(settings, created.plan, created.descriptors)
    return launch.spawn().wait() if stay else launch.exec()


def _options(container: Container) -> RunOptions:
    options = stored_options.options(container.options, f"{container.folder}/state.json")
    options.rm = container.remove
    log, what = options.log, f"{container.folder}/state.json"
    for name in ("driver", "max_size", "max_file"):
        value = container.log.get(name, getattr(log, name))
        if type(value) is not type(getattr(log, name)):
            raise DataLoss(f"cannot read {what}: {name} of the log is of another type")
        setattr(log, name, value)
    return options


def _record(store: Store, container: Container) -> records.Record:
    if not os.path.isdir(container.folder):
        raise NotFound(f"cannot start container {container.name}: it has just been removed")
    record = records.Record(container.id, container.folder)
    record.trash = store.trash
    record.remove = container.remove
    record.name = f"{store.names}/{container.name}"
    return record
