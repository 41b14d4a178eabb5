"""Gives a container's plan its slots: opens what the plan names, and makes the folders and nodes that binds need. On the start path."""

from __future__ import annotations

import os

from estiba.engine import records
from estiba.errors import InvalidArgument
from estiba.linux import cgroup
from estiba.plan import ops
from estiba.runtime import mounts
from estiba.runtime.compile import Bindings, compile_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.engine.foreign import Interpreter
    from estiba.linux.facts import HostFacts
    from estiba.plan.ops import Op
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store

_PATH = os.O_PATH | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILES = ("hosts", "resolv.conf", "hostname")
_SLOTS = 256  # MAX_SLOTS (helper/src/plan.h)


class Binder:
    """Fills `bindings`. `dry` opens nothing and makes nothing: its slots have no descriptors. `interpreter` is what runs the programs
    of an image of another machine.
    """

    def __init__(
        self,
        bindings: Bindings,
        record: records.Record,
        spec: dict[str, Any],
        store: Store,
        settings: Settings,
        options: RunOptions,
        facts: HostFacts,
        *,
        dry: bool,
    ) -> None:
        self.bindings = bindings
        self._record = record
        self._spec = spec
        self._store = store
        self._settings = settings
        self._options = options
        self._facts = facts
        self._dry = dry
        self._idmapped = options.userns == "private" and facts.maps.kind == "root-range"
        self.interpreter: Interpreter | None = None
        self._nodes = facts.uid == 0 and facts.maps.kind == "root-range"

    def open_sources(self) -> None:
        """Opens the caller's paths: the one place where a path of the host is looked up, before anything is made.

        Raises InvalidArgument, PermissionDenied for a source that cannot be opened.
        """
        for request in self._options.mounts:
            if request.create_source and not self._dry:
                os.makedirs(request.source, exist_ok=True)
        self.bindings.devices = frozenset(self._facts.devices)
        for mount in self._binds():
            if not self._is_own(mount) and mount["source"] not in self.bindings.devices:
                self._bind(mount, mount["source"])

    def bind(self, status: int, groups: Sequence[tuple[int, bytes]] = ()) -> None:
        """Opens the rest, which is the container's own. `status` is the descriptor of its status file, `groups` those of its control
        groups, each with its program of devices. Raises InvalidArgument for more mounts than a plan has slots.
        """
        bindings, folder = self.bindings, self._record.folder
        for mount in self._binds():
            if self._is_own(mount):
                self._bind_own(mount)
        bindings.layers = self._open(self._store.layers)
        bindings.upper = self._open(folder)
        bindings.volatile = self._options.rm
        bindings.files = [(self._open(f"{folder}/{name}"), f"/etc/{name}") for name in FILES]
        if self._idmapped:
            shared = (bindings.layers, bindings.upper, *(number for number, _ in bindings.files))
            bindings.idmapped += [(number, False) for number in shared]
        if self.interpreter is not None:
            bindings.binfmt = (self._open(os.path.dirname(self.interpreter.program)), self.interpreter.rule)
        self._bind_host(status, groups)

    def _bind_host(self, status: int, groups: Sequence[tuple[int, bytes]]) -> None:
        bindings = self.bindings
        bindings.cgroups = [(bindings.add(descriptor), program) for descriptor, program in groups]
        bindings.status = bindings.add(status)
        bindings.stdin = int(self._options.interactive)
        bindings.attached = not self._options.detach
        bindings.announce = self._record.id if self._options.detach else ""
        bindings.muted = _muted(self._options.attach)
        bindings.signal_proxy = self._options.sig_proxy
        bindings.detach_keys = self._options.detach_keys
        bindings.listen = (self._open_attach_folder(), self._record.id)
        if self._options.log.driver != "none":
            log = self._options.log
            bindings.log = (self._open(self._record.folder), "log", log.max_size, log.max_file)
        bindings.window = window() if self._options.tty else (0, 0)
        bindings.cleanup = self._cleanup()
        if len(bindings.slots) > _SLOTS:
            raise InvalidArgument(f"cannot start the container: it has {len(bindings.slots)} mounts, a plan has room for {_SLOTS}")

    def plan(self) -> list[Op]:
        """Returns the plan of what was bound."""
        return compile_plan(self._spec, self.bindings)

    def _open(self, path: str, flags: int = _PATH) -> int:
        return self.bindings.add(-1 if self._dry else os.open(path, flags), path)

    def _open_attach_folder(self) -> int:
        folder = records.attach_folder(self._settings)
        if not self._dry and not os.path.isdir(folder):
            records.make_folders(self._settings)
        return self._open(folder, _FOLDER)

    # --- binds ------------------------------------------------------------------------------------------------------------

    def _binds(self) -> list[dict[str, Any]]:
        """Returns the binds of the spec, but for the host's trees."""
        return [
            mount
            for mount in self._spec["mounts"]
            if mount["type"] == "bind" and not (mount["source"] == mount["destination"] and mount["source"] in mounts.HOST_TREES)
        ]

    def _is_own(self, mount: dict[str, Any]) -> bool:
        """Tells whether the source is in the container's folder, or will be: volumes, and the nodes of devices."""
        source = mount["source"]
        return source.startswith(self._record.folder + "/") or (self._nodes and (source == "/dev" or source.startswith("/dev/")))

    def _bind(self, mount: dict[str, Any], path: str) -> int:
        try:
            number = self._open(path)
        except OSError as error:
            from estiba.engine.bind_errors import cannot_bind

            raise cannot_bind(path, mount["destination"], error) from error
        self.bindings.binds[mount["destination"]] = number
        if self._idmapped:
            self.bindings.idmapped.append((number, mounts.is_recursive(mount["options"])))
        return number

    def _bind_own(self, mount: dict[str, Any]) -> None:
        source, folder = mount["source"], self._record.folder
        if source.startswith(folder + "/"):
            if not self._dry:
                os.makedirs(source, mode=0o755, exist_ok=True)
            self.bindings.volumes[mount["destination"]] = self._bind(mount, source)
        elif self._dry:
            self._bind(mount, source)
        else:
            self._bind(mount, self._device(source))

    def _device(self, source: str) -> str:
        """Returns the path to bind for the device `source`, or for all of /dev."""
        from estiba.engine import devices

        folder = self._record.folder
        if devices.hides_devices(folder):
            return source
        if source == "/dev":
            devices.make_tree(f"{folder}/dev", self._facts.devices)
            return f"{folder}/dev"
        os.makedirs(f"{folder}/devices", exist_ok=True)
        path = f"{folder}/devices/{len(self.bindings.slots)}"
        try:
            devices.make_node(source, path)
        except OSError as error:
            from estiba.engine.bind_errors import cannot_bind

            raise cannot_bind(source, source, error) from error
        return path

    # --- afterwards -------------------------------------------------------------------------------------------------------

    def _cleanup(self) -> list[Op]:
        """What the monitor does when the container is gone: what others may take, the groups, and the record when all is done."""
        record, store, cleanup = self._record, self._store, []
        if self.bindings.listen is not None:
            cleanup.append(ops.forget(*self.bindings.listen))
        if record.slot is not None:
            cleanup.append(ops.forget(self._open(f"{self._settings.runtime_dir}/ranges", _FOLDER), str(record.slot)))
        trash, names = self._open(store.trash, _FOLDER), self._open(store.names, _FOLDER)
        cleanup.append(ops.discard(self._open(store.containers, _FOLDER), record.id, trash, names))
        for path in record.cgroups:
            parent, _, name = path.rpartition("/")
            cleanup.append(ops.remove_cgroup(self._open(parent, _FOLDER), name))
        shared = [parent for parent in map(os.path.dirname, record.cgroups) if cgroup.is_shared(parent)]
        cleanup += [ops.leave_cgroup(self._open(os.path.dirname(parent), _FOLDER), cgroup.PARENT) for parent in shared]
        cleanup.append(ops.forget(self._open(records.live_folder(self._settings), _FOLDER), record.id))
        return cleanup


def _muted(attach: Sequence[str]) -> int:
    """The output streams that --attach does not name, as `Bindings.muted` has them."""
    return ("stdout" not in attach) + 2 * ("stderr" not in attach) if attach else 0


def window() -> tuple[int, int]:
    """Returns rows and columns of the caller's terminal, zeros where there is none (ioctl_tty(2), TIOCGWINSZ)."""
    for descriptor in (0, 1, 2):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        return rows, columns
    return 0, 0
