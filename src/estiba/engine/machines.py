"""A container on a kernel of its own: its guest's plan, and the jail on the host in which the machine monitor runs.

On the start path of `run --isolation para`.
"""

from __future__ import annotations

import os

from estiba.engine import guest_disks, kernel_choice, kernels, kvm, machine_disk, monitors, parked
from estiba.engine.binder import FILES, Binder, window
from estiba.engine.kernels import UML
from estiba.errors import FailedPrecondition, InvalidArgument, NotImplemented
from estiba.machine import guest, jail, layout, uml
from estiba.machine.early import likely, split
from estiba.machine.parts import Parts
from estiba.machine.qemu import CPUS, EMULATED, PROGRAMS, Qemu
from estiba.oci.digest import hex_of
from estiba.oci.platform import host_platform
from estiba.plan import ops
from estiba.plan.encode import encode
from estiba.plan.helper import guest_helper_path
from estiba.runtime import seccomp_monitor
from estiba.runtime.compile import NO_SLOT, Bindings, compile_plan
from estiba.runtime.parse_limits import UNLIMITED
from estiba.runtime.spec import USER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from estiba.config.settings import Settings
    from estiba.engine.kernels import Kernel
    from estiba.engine.launching import Launching
    from estiba.linux.facts import HostFacts
    from estiba.oci.digest import DiffID
    from estiba.plan.ops import Op
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store

    class Monitor(Protocol):
        """What runs a guest on the host: machine/uml.py, machine/qemu.py."""

        MAX_DISKS: int
        ENVIRONMENT: tuple[str, ...]
        PERSONALITY: int
        ONE_PROCESSOR: bool
        PATIENCE_SECONDS: int
        MEMORY_FILE: bool
        PARKS: bool
        BINDS: tuple[str, str, str]

        def disk_device(self, number: int) -> str: ...

        def arguments(self, parts: Parts) -> list[str]: ...


DEFAULT_MEMORY = 256 << 20
#: Bytes in which a kernel and a small program run, where that is not 48 MiB.
LEAST_MEMORY = {"para": 32 << 20}
ONE_PROCESSOR = "a machine of User-Mode Linux has one processor"
#: Processes of a machine monitor beside those that stand for the guest's.
_MONITOR_PROCESSES = 64


class Machine:
    """What a container on a kernel of its own needs beside what every container needs.

    `kernel` it runs on, the `monitor` that runs the kernel, the `layers` of the jail, topmost first, `memory` of its guest in bytes,
    `facts` of the guest for the container's spec.
    """

    def __init__(
        self, draft: Launching, kernel: Kernel | None = None, *, architecture: str = "", nano_cpus: int | None = None
    ) -> None:
        refuse(draft.options)
        host = host_platform().architecture
        self.kernel = kernel or _kernel(draft, architecture if architecture in PROGRAMS and architecture != host else None)
        if kernel is None and draft.options.isolation == "para" and not draft.reason:
            draft.reason = kernel_choice.why_para(draft.settings, self.kernel.kind, named=bool(draft.options.kernel))
        self.cpu = CPUS.get(self.kernel.architecture, os.uname().machine)
        self.helper = guest_helper_path(draft.settings, self.kernel.architecture, host)
        self.modules = [*self.kernel.modules, *self.kernel.drivers] if self.kernel.kind != UML else self.kernel.modules
        native = self.kernel.architecture == host
        self.emulated = frozenset[str]() if self.kernel.kind == UML else _emulated(draft.settings, draft.options, native=native)
        self.lends_processor = self.kernel.kind != UML and "cpu" not in self.emulated
        processors = -(-(nano_cpus or 1) // 10**9)
        if kernel is None and self.kernel.kind == UML and processors > 1:
            raise InvalidArgument(
                f"cannot use --cpus: {ONE_PROCESSOR}", hint="--isolation partial: a machine of QEMU has as many as --cpus says"
            )
        self.monitor, self.layers = _monitor(draft.store, draft.settings, self.kernel, self.emulated, processors)
        self.memory = draft.options.memory or DEFAULT_MEMORY
        self.facts: HostFacts = guest.facts(1 if self.kernel.kind == UML else draft.facts.cpus)

    def boot_disk(self, store: Store, settings: Settings) -> str:
        """Returns the path of the disk from which its firmware loads the kernel; empty where QEMU loads it."""
        if not isinstance(self.monitor, Qemu) or "firmware" not in self.emulated or self.kernel.kind != machine_disk.BOOTS:
            return ""
        return machine_disk.boot_disk(store, settings, self.kernel, self.monitor.options())

    def resources(self, spec: dict[str, Any], host: HostFacts) -> dict[str, Any]:
        """Returns the limits of the jail: processors and disks are the host's, memory and processes the guest's own."""
        asked = spec["linux"]["resources"]
        limits = {name: asked[name] for name in ("cpu", "blockIO") if name in asked}
        pids = asked.get("pids", {}).get("limit", UNLIMITED)
        if pids == UNLIMITED or not host.cgroups.available("pids"):
            return limits
        return {**limits, "pids": {"limit": pids + _MONITOR_PROCESSES}}


def _kernel(draft: Launching, foreign: str | None) -> Kernel:
    """The kernel of a new container, which `kernel_choice.taken` chooses where none is named."""
    store, settings, options = draft.store, draft.settings, draft.options
    if foreign is not None and options.isolation != "partial":
        raise NotImplemented(
            f"cannot use --isolation {options.isolation}: for an image of {foreign} there are machines whose processor alone is emulated",
            hint="--isolation partial",
        )
    if foreign is not None:
        return kernel_choice.choose(store, settings, options.kernel, "partial", architecture=foreign)
    para = options.isolation == "para"
    if para and options.kernel is None and (found := kernel_choice.taken(store, settings, "para")) is not None:
        return found
    by_kvm = para and kvm.usable(settings)[0]
    return kernel_choice.choose(store, settings, options.kernel, options.isolation, others=kernels.RUNGS["partial"] if by_kvm else ())


def _emulated(settings: Settings, options: RunOptions, *, native: bool) -> frozenset[str]:
    """What QEMU emulates: all, what was asked for, or what this machine cannot lend. Raises FailedPrecondition."""
    if options.isolation == "full":
        return frozenset(EMULATED)
    works, reason = kvm.usable(settings) if native else (False, "it is of another kind")
    if not native and set(options.emulate.split(",")) - {"", "cpu"}:
        raise NotImplemented("cannot use --emulate: of a machine of another kind the processor alone is emulated")
    chosen = frozenset(options.emulate.split(",")) if options.emulate else frozenset(() if works else ("cpu",))
    if "cpu" not in chosen and not works:
        raise FailedPrecondition(f"cannot lend the processor to a machine: {reason}", hint="--emulate cpu: QEMU emulates it")
    return chosen


def _monitor(
    store: Store, settings: Settings, kernel: Kernel, emulated: frozenset[str], processors: int
) -> tuple[Monitor, list[DiffID]]:
    """A machine has as many processors as --cpus lets it use; one of User-Mode Linux has one."""
    if kernel.kind == UML:
        monitor: Monitor = uml
        return monitor, [kernel.layer]
    program = monitors.find(store, settings, PROGRAMS[kernel.architecture])
    monitor = Qemu(program.path, emulated, pc=bool(kernel.drivers), cpu=CPUS[kernel.architecture], processors=processors)
    return monitor, [program.layer, kernel.layer]


def refuse(options: RunOptions) -> None:
    """Refuses what a machine cannot give. Raises NotImplemented, InvalidArgument."""
    if options.emulate and options.isolation != "partial":
        raise InvalidArgument("cannot use --emulate: only --isolation partial has parts to choose from")
    if options.network not in ("none", ""):
        raise NotImplemented(f"cannot use --network {options.network}: a machine has no network yet", hint="use --network none")
    for flag in ("pid", "ipc", "uts", "cgroupns", "userns"):
        if getattr(options, flag) == "host":
            raise InvalidArgument(f"cannot use --{flag} host: a machine has a kernel of its own and shares nothing with the host's")
    if options.devices:
        raise NotImplemented("cannot use --device: devices of the host are not passed to a machine")
    least = LEAST_MEMORY.get(options.isolation, 48 << 20)
    if options.memory is not None and options.memory < least:
        raise InvalidArgument(f"cannot use --memory: a machine of --isolation {options.isolation} needs at least {least >> 20} MiB")


class MachineBinder(Binder):
    """Opens what the jail's plan names, and makes both plans. Its `spec` is the container's."""

    def __init__(self, draft: Launching, machine: Machine) -> None:
        super().__init__(draft.bindings, draft.record, draft.spec, draft.store, draft.settings, draft.options, draft.facts, dry=draft.dry)
        self._machine = machine
        self._layers = draft.layers
        self._filter = draft.bindings.seccomp
        self._disks: list[jail.Disk] = []
        self._disk_paths: list[str] = []
        self._guest_binds: dict[str, int] = {}  # destination in the container -> number of the bind
        self._park, self._parked, self._parked_disk = "", NO_SLOT, NO_SLOT
        self._boot = ""
        self._beginning, self._rest = b"", b""

    # --- slots ------------------------------------------------------------------------------------------------------------

    def open_sources(self) -> None:
        self._layer_disks = [guest_disks.LayerDisk("") for _ in self._layers]
        if not self._dry:
            self._layer_disks = guest_disks.layer_disks(self._store, self._settings, self._layers, self._machine.monitor.MAX_DISKS - 1)
        for disk in self._layer_disks:
            self._disk(disk.path, writable=False)
        super().open_sources()

    def bind(self, status: int, groups: Sequence[tuple[int, bytes]] = ()) -> None:
        bindings = self.bindings
        self._add_disk(writable=True)
        self._bind_own_parts()
        self._bind_top()
        self._shared(self._machine.helper, layout.INIT)
        bindings.layers = self._open(self._store.layers)
        bindings.lowers = [f"{hex_of(layer)}/fs" for layer in self._machine.layers]
        if self._idmapped:
            bindings.idmapped.append((bindings.layers, False))
        bindings.seccomp = seccomp_monitor.FILTERS[os.uname().machine]
        self._bind_host(status, groups)

    def _bind_own_parts(self) -> None:
        """The disk to boot from, and the processor."""
        self._boot = "" if self._dry else self._machine.boot_disk(self._store, self._settings)
        if self._boot:
            self._shared(self._boot, layout.BOOT)
        if self._machine.lends_processor:
            path = self._device(layout.KVM) if self._nodes and not self._dry else layout.KVM
            super()._bind({"destination": layout.KVM, "options": []}, path)

    def _bind_top(self) -> None:
        """The disk of the container's changes, and where its machine begins: at its boot, after which it may be parked, or where one like
        it was parked.

        A new container, whose disk is as empty as that of the one that was parked, begins at its pivot. Not one with binds: QEMU does not
        park a guest that has mounted the host's folders.
        """
        path = guest_disks.top_path(self._record.folder)
        new = not self._dry and not os.path.exists(path)
        parks = not self._dry and self._machine.monitor.PARKS and self._options.snapshot
        late = parks and new and not self._guest_binds
        if late:
            self._begin_late(path)
        elif new:
            guest_disks.make_top(self._store, path, durable=not self._options.rm)
        if parks and not late:
            self._find_parked(os.stat(path).st_size)
        self._shared(path, self._disks[-1].target)

    def _begin_late(self, path: str) -> None:
        early, rest = split(compile_plan(self._spec, self._guest_bindings()), likely(self._spec["process"]["env"]))
        beginning, durable = encode(early), not self._options.rm
        found = self._find_parked(durable, beginning, with_disk=True)
        if found is not None and found.whole:
            guest_disks.copy_top(found.disk, path)
        else:
            guest_disks.make_top(self._store, path, durable=durable)
        if found is not None:
            self._rest, self._beginning = encode(rest), b"" if found.whole else beginning

    def _find_parked(self, *own: object, with_disk: bool = False) -> parked.Parked | None:
        stats = [os.stat(path) for path in self._disk_paths]
        disks = [(stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]
        parts = (self._machine.layers, self._layers, self._words(volatile=False), disks, *own)
        found = parked.find(self._store, self._settings, parts, with_disk=with_disk)
        if found is not None:
            self._park, self._parked = "wake" if found.whole else "begin", self.bindings.add(found.descriptor)
            self._parked_disk = self.bindings.add(found.disk) if with_disk else NO_SLOT  # read-only where it is whole: not written again
        return found

    def _disk(self, path: str, *, writable: bool) -> None:
        self._add_disk(writable=writable)
        self._disk_paths.append(path)
        self._shared(path, self._disks[-1].target)

    def _add_disk(self, *, writable: bool) -> None:
        self._disks.append(jail.Disk(len(self._disks), writable=writable))

    def _shared(self, path: str, target: str) -> None:
        number = self._open(path)
        self.bindings.binds[target] = number
        if self._idmapped:
            self.bindings.idmapped.append((number, False))

    def _bind(self, mount: dict[str, Any], path: str) -> int:
        """A bind of the caller's is one of the jail's, which the guest finds in its folder of binds."""
        number = self._guest_binds[mount["destination"]] = len(self._guest_binds)
        return super()._bind({**mount, "destination": f"{layout.BINDS}/{number}"}, path)

    # --- plans ------------------------------------------------------------------------------------------------------------

    def plan(self) -> list[Op]:
        """Returns the jail's plan, which carries the guest's."""
        machine, bindings, process = self._machine, self.bindings, self._spec["process"]
        monitor, discard = machine.monitor, int(self._options.rm)
        plan = self._rest or encode(compile_plan(self._spec, self._guest_bindings()))
        files = ("" if self._boot or self._park == "wake" else layout.INITRAMFS, layout.INIT, machine.modules)
        how = (monitor.PATIENCE_SECONDS, discard, monitor.PERSONALITY, self._parked, int(monitor.ONE_PROCESSOR))
        parking = (self._beginning, self._disks[-1].target, self._parked_disk)
        bindings.machine = ops.machine(self._words(volatile=self._options.rm), monitor.ENVIRONMENT, *files, plan, *how, *parking)
        spec = jail.spec(
            memory=machine.memory if monitor.MEMORY_FILE else 0,
            plan=len(plan),
            terminal=process["terminal"],
            disks=self._disks,
            binds=[mount["options"] for mount in self._spec["mounts"] if mount["destination"] in self._guest_binds],
            boot=bool(self._boot),
            kvm=machine.lends_processor,
            annotations={USER: "0:0"},
        )
        return compile_plan(spec, bindings)

    def _words(self, *, volatile: bool) -> list[str]:
        machine, binds = self._machine, bool(self._guest_binds)
        disks = [(disk.target, disk.writable) for disk in self._disks]
        boot = layout.BOOT if self._boot else ""
        parts = Parts(machine.kernel.path, machine.memory, disks, binds=binds, volatile=volatile, park=self._park, boot=boot)
        return machine.monitor.arguments(parts)

    def _guest_bindings(self) -> Bindings:
        tree, bindings = guest.Tree(), Bindings(self._machine.facts.maps)
        devices = [self._machine.monitor.disk_device(disk.number) for disk in self._disks]
        layers = [guest.Layer(device, offset) for device, disk in zip(devices, self._layer_disks, strict=False) for offset in disk.offsets]
        bindings.layers, bindings.lowers = tree.layers(layers)
        bindings.upper = tree.top(devices[-1], "noinit_itable")
        bindings.volatile = self._options.rm
        bindings.files = [(tree.file(name, self._file(name)), f"/etc/{name}") for name in FILES]
        if self._guest_binds:
            tree.binds(*self._machine.monitor.BINDS)
        for destination, number in self._guest_binds.items():
            bindings.binds[destination] = tree.slot(f"{layout.GUEST_BINDS}/{number}")
        for number, mount in enumerate(mount for mount in self._binds() if self._is_own(mount)):
            bindings.volumes[mount["destination"]] = tree.folder(f"{layout.GUEST_TOP}/volumes/{number}")
        bindings.cgroups = [(self._group(tree), b"")]
        bindings.seccomp = self._filter
        bindings.stdin = int(self._options.interactive)
        bindings.window = window() if self._options.tty else (0, 0)
        bindings.prepare = tree.ops
        return bindings

    def _file(self, name: str) -> bytes:
        if self._dry:
            return b""
        with open(f"{self._record.folder}/{name}", "rb") as file:
            return file.read()

    def _group(self, tree: guest.Tree) -> int:
        pids = self._spec["linux"]["resources"].get("pids", {}).get("limit", UNLIMITED)
        limits = [] if pids == UNLIMITED else [("pids.max", str(pids))]
        asked = self._options.pids_limit is not None
        return tree.group(limits if asked else [], [] if asked else limits)
