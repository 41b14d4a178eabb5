"""config.json -> the operations that make its container (runtime-spec, config.md and config-linux.md).

The order, and why: mounts and devices as config.json has them; the host's hooks, which may make what later steps need (a network
device that a sysctl names); what hides or closes parts of the tree, when every target was made; the pivot; then the process, held
between its limits and its user, so that the program is looked for before anybody says that the container is created.
"""

from __future__ import annotations

import os
import stat

from estiba.engine.oci_runtime import process_plan
from estiba.engine.oci_runtime.cgroups import may_make_devices
from estiba.engine.oci_runtime.hooks import hooks
from estiba.engine.oci_runtime.mount_options import RDONLY, MountOptions
from estiba.engine.oci_runtime.resources import device_rules
from estiba.engine.oci_runtime.state import SOCKET
from estiba.errors import FailedPrecondition, InvalidArgument, NotFound, NotImplemented
from estiba.linux import idmap
from estiba.linux.device_program import device_program
from estiba.oci.strict_json import dumps
from estiba.plan import ops
from estiba.runtime.mounts import DEVICES, LINKS, NOEXEC, NOSUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from estiba.engine.oci_runtime.cgroups import Hierarchy
    from estiba.engine.oci_runtime.config import Bundle, Section
    from estiba.engine.oci_runtime.creation import Slots
    from estiba.engine.oci_runtime.state import State
    from estiba.plan.ops import Op

CLONE = {
    "time": 0x80,
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
_INHERITED, _TERMINAL = 3, 2
_SLOTS = 256
_MS_REC = 0x4000
_ID_MAX = 0xFFFFFFFE
_PID = "the pid"
_PROPAGATION = {
    "": 0,
    "shared": 0x100000,
    "rshared": 0x104000,
    "slave": 0x80000,
    "rslave": 0x84000,
    "private": 0x40000,
    "rprivate": 0x44000,
    "unbindable": 0x20000,
    "runbindable": 0x24000,
}
_IPC_SYSCTLS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
                "kernel.shm_rmid_forced")  # fmt: skip


class ContainerPlan:
    """The plan of a bundle's container. `groups` are its control groups, `keep` descriptors of the caller that the program gets."""

    def __init__(
        self,
        bundle: Bundle,
        state: State,
        slots: Slots,
        groups: Sequence[tuple[Hierarchy, str]],
        keep: Sequence[int],
        *,
        pivot: bool = True,
        keyring: bool = True,
    ) -> None:
        self._bundle = bundle
        self._state = state
        self._slots = slots
        self._groups = groups
        self._keep = keep
        self._pivot = pivot
        self._keyring = keyring
        self._namespaces = bundle.namespaces()
        self._terminal = bundle.process.flag("terminal")
        self._propagation = _propagation(bundle.linux)

    def operations(self, caller: int) -> list[Op]:
        """The whole plan; `caller` is the slot of the helper's connection."""
        rest = [
            *self._host(caller),
            ops.root(self._open("root", self._bundle.root), 0),
            *self._mounts(),
            *self._devices(),
            *self._hooks_and_names(),
            *self._hidden(),
            self._enter(),
            *([ops.propagation(self._propagation)] if self._propagation else []),
            *self._process(),
        ]
        if len(self._slots.opened) > _SLOTS:
            raise InvalidArgument(f"cannot create the container: it has {len(self._slots.opened)} binds, a plan has room for {_SLOTS}")
        return [*(ops.slot(number, *opened) for number, opened in enumerate(self._slots.opened)), *rest]

    def _enter(self) -> Op:
        if not self._bundle.makes_mounts:
            return ops.change_root()
        return ops.pivot() if self._pivot else ops.move_root()

    def _open(self, what: str, path: str, flags: int = os.O_PATH) -> int:
        try:
            return self._slots.open(path, flags)
        except OSError as error:
            raise NotFound(f"cannot use {what} {path}: {(error.strerror or '').lower()}") from error

    # --- host -------------------------------------------------------------------------------------------------------------

    def _host(self, caller: int) -> Iterator[Op]:
        linux = self._bundle.linux
        flags = 0
        for kind, path in self._namespaces.items():
            if path:
                yield ops.join_namespace(self._open(f"{kind} namespace", path, os.O_RDONLY), CLONE[kind])
            elif kind not in ("user", "time"):
                flags |= CLONE[kind]
        if self._namespaces.get("user") == "":
            yield _user_namespace(_maps(linux, "uidMappings"), _maps(linux, "gidMappings"))
        if self._namespaces.get("time") == "":
            yield ops.time_offsets(_offsets(linux.section("timeOffsets")))
        yield ops.namespaces(flags)
        for hierarchy, path in self._groups:
            slot = self._open("cgroup", path)
            yield ops.cgroup(slot)
            if hierarchy.unified and may_make_devices():
                yield ops.cgroup_devices(slot, device_program(device_rules(linux.section("resources")), allowed=False))
        yield streams(self._bundle.process)
        yield ops.listen(self._open("state", self._state.folder), SOCKET)
        yield ops.caller(caller, int(self._keyring))
        for descriptor in self._keep:
            yield ops.keep(self._slots.add(descriptor, keep=True))

    # --- mounts -----------------------------------------------------------------------------------------------------------

    def _mounts(self) -> Iterator[Op]:
        for mount in self._bundle.config.sections("mounts"):
            target, kind, options = mount.text("destination"), mount.text("type", ""), MountOptions(mount.texts("options"))
            if not target.startswith("/"):
                target = "/" + target  # of version 1.0; the specification wants it absolute
            if mount.sections("uidMappings") or mount.sections("gidMappings"):
                raise NotImplemented(f"cannot mount {target}: idmapped mounts are not offered")
            if options.remount:
                yield ops.attributes(target, options.set, options.clear, 0, 0)
            elif kind == "cgroup":
                yield from self._cgroup_mount(target, options)
            elif options.bind or kind == "bind":
                yield from self._bind(mount, target, options)
            else:
                # What is made in it must be made first.
                now = options.set & ~RDONLY if kind == "tmpfs" else options.set
                yield ops.file_system(kind, mount.text("source", kind) or kind, target, now, int(options.copy), options.data)
            yield from _spread(target, options)

    def _bind(self, mount: Section, target: str, options: MountOptions) -> Iterator[Op]:
        source = os.path.join(self._bundle.folder, mount.text("source"))
        yield ops.tree(self._open(f"mount {target}: source", source), target, int(options.recursive))
        if options.set or options.clear:
            yield ops.attributes(target, options.set, options.clear, 0, 0)

    def _cgroup_mount(self, target: str, options: MountOptions) -> Iterator[Op]:
        """Version 2 as it is; of version 1 a folder with the hierarchies, where the container's own groups are the roots."""
        if any(hierarchy.unified for hierarchy, _ in self._groups):
            yield ops.file_system("cgroup2", "cgroup", target, options.set, 0, [])
            return
        yield ops.file_system("tmpfs", "tmpfs", target, options.set & ~RDONLY, 0, ["mode=755"])
        for hierarchy, path in self._groups:
            inside = f"{target}/{hierarchy.name}"
            if "cgroup" in self._namespaces:
                named = hierarchy.controllers[0].startswith("name=")
                words = ["none", *hierarchy.controllers] if named else list(hierarchy.controllers)
                yield ops.file_system("cgroup", "cgroup", inside, options.set, 0, words)
            else:
                yield ops.tree(self._open("cgroup", path), inside, 0)
                yield ops.attributes(inside, options.set, options.clear, 0, 0)
            for name in hierarchy.controllers:
                if name != hierarchy.name and "=" not in name:
                    yield ops.symlink(hierarchy.name, f"{target}/{name}")
        if options.set & RDONLY:
            yield ops.attributes(target, RDONLY, 0, 0, 0)

    # --- devices ----------------------------------------------------------------------------------------------------------

    def _devices(self) -> Iterator[Op]:
        mounts = self._bundle.config.sections("mounts")
        if any(mount.text("destination") == "/dev" and MountOptions(mount.texts("options")).bind for mount in mounts):
            return
        listed = {device.text("path"): device for device in self._bundle.linux.sections("devices")}
        mknod = "user" not in self._namespaces and may_make_devices()
        for path in DEVICES:
            if path not in listed:
                status = os.stat(path)
                numbers = os.major(status.st_rdev), os.minor(status.st_rdev)
                yield ops.device(path, stat.S_IFCHR | 0o666, *numbers, 0, 0) if mknod else _bound_device(path)
        for path, device in listed.items():
            yield _device(path, device) if mknod or device.text("type") == "p" else _bound_device(path)
        for target, path in (*LINKS, ("/proc/kcore", "/dev/core")):
            if path != "/dev/core" or os.path.exists("/proc/kcore"):
                yield ops.symlink(target, path)
        if self._terminal:
            yield ops.console()

    # --- what waits for hooks ---------------------------------------------------------------------------------------------

    def _hooks_and_names(self) -> Iterator[Op]:
        bundle, kinds = self._bundle, self._namespaces
        if kinds.get("network") == "":
            yield ops.loopback()
        if hooks(bundle, "prestart") or hooks(bundle, "createRuntime"):
            yield ops.ask()
        yield from self._hooks("createContainer", "creating")
        if bundle.config.text("hostname", ""):
            yield ops.hostname(bundle.config.text("hostname"))
        if bundle.config.text("domainname", ""):
            yield ops.domainname(bundle.config.text("domainname"))
        for name, value in bundle.linux.words("sysctl").items():
            path = name if "/" in name else name.replace(".", "/")
            _check_sysctl(path.replace("/", "."), kinds)
            yield ops.sysctl(path, value)

    def _hooks(self, kind: str, status: str) -> Iterator[Op]:
        """Hooks that run in the container: the helper knows the pid, which stands between two parts of the state."""
        state = self._state.json(status)
        state["pid"] = _PID
        head, _, tail = dumps(state).partition(b'"' + _PID.encode() + b'"')
        for hook in hooks(self._bundle, kind):
            yield ops.hook(hook.path, hook.arguments, hook.environment, hook.seconds, head, tail)

    def _hidden(self) -> Iterator[Op]:
        config, linux = self._bundle.config, self._bundle.linux
        for path in linux.texts("maskedPaths"):
            yield ops.mask(path)
        for path in linux.texts("readonlyPaths"):
            yield ops.readonly(path)
        for mount in config.sections("mounts"):
            options = MountOptions(mount.texts("options"))
            if mount.text("type", "") == "tmpfs" and options.set & RDONLY and not options.bind:
                yield ops.attributes(mount.text("destination"), RDONLY, 0, 0, 0)
        if config.section("root").flag("readonly"):
            yield ops.readonly_root()

    def _process(self) -> list[Op]:
        process = self._bundle.process
        if not process.value:
            raise InvalidArgument("cannot create the container: config.json has no process")
        return [
            *process_plan.before_user(process),
            ops.hold(),
            *self._hooks("startContainer", "created"),
            *process_plan.as_user(process, self._bundle.linux),
        ]


def streams(process: Section) -> Op:
    """The caller's streams, or a pseudo-terminal of the asked size."""
    if not process.flag("terminal"):
        return ops.streams(_INHERITED, 0, 0, 0)
    window = process.section("consoleSize")
    return ops.streams(_TERMINAL, 1, window.number("height", 0, maximum=65535), window.number("width", 0, maximum=65535))


def _propagation(linux: Section) -> int:
    word = linux.text("rootfsPropagation", "")
    if word not in _PROPAGATION:
        raise InvalidArgument(f"cannot use rootfsPropagation {word!r}: it is none of {', '.join(filter(None, _PROPAGATION))}")
    return _PROPAGATION[word]


def _spread(target: str, options: MountOptions) -> Iterator[Op]:
    if options.set_below or options.clear_below:
        yield ops.attributes(target, options.set_below, options.clear_below, 0, 1)
    for flags in options.propagation:
        yield ops.attributes(target, 0, 0, flags & ~_MS_REC, int(bool(flags & _MS_REC)))


def _maps(linux: Section, key: str) -> list[str]:
    return [f"{item.number('containerID')} {item.number('hostID')} {item.number('size')}" for item in linux.sections(key)]


def _user_namespace(uids: list[str], gids: list[str]) -> Op:
    """Who may administer maps any ids; others their own ones without groups, and those of subuid(5) by set-uid programs."""
    if idmap.may_administer():
        return ops.user_namespace(uids, gids, 1, "", "")
    if [line.split()[1:] for line in (*uids, *gids)] == [[str(os.geteuid()), "1"], [str(os.getegid()), "1"]]:
        return ops.user_namespace(uids, gids, 0, "", "")
    tools = idmap.map_tool("newuidmap"), idmap.map_tool("newgidmap")
    if not all(tools):
        raise FailedPrecondition("cannot map more ids than the caller's own: newuidmap and newgidmap are not there", hint="install uidmap")
    return ops.user_namespace(uids, gids, 1, *tools)


def _offsets(section: Section) -> str:
    lines = []
    for clock in section.value:
        if clock not in ("monotonic", "boottime"):
            raise InvalidArgument(f"cannot use timeOffsets: clock {clock!r} has none")
        offset = section.section(clock)
        seconds = offset.number("secs", 0, minimum=-(1 << 62), maximum=1 << 62)
        lines.append(f"{clock} {seconds} {offset.number('nanosecs', 0, maximum=999_999_999)}\n")
    return "".join(lines)


def _bound_device(path: str) -> Op:
    return ops.host_bind(path, path, NOSUID | NOEXEC, 0)


def _device(path: str, device: Section) -> Op:
    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    kind = device.text("type")
    if kind not in kinds:
        raise InvalidArgument(f"cannot make device {path}: type {kind!r} is unknown")
    numbers = (0, 0) if kind == "p" else (device.number("major"), device.number("minor"))
    mode = device.number("fileMode", 0o666, maximum=0o177777) & 0o7777
    owner = device.number("uid", 0, maximum=_ID_MAX), device.number("gid", 0, maximum=_ID_MAX)
    return ops.device(path, kinds[kind] | mode, *numbers, *owner)


def _check_sysctl(name: str, kinds: dict[str, str]) -> None:
    """A setting that is not of a namespace of the container's own is the host's."""
    needed = "ipc" if name in _IPC_SYSCTLS or name.startswith("fs.mqueue.") else "network" if name.startswith("net.") else ""
    needed = "uts" if name == "kernel.domainname" else needed
    if not needed:
        raise InvalidArgument(f"cannot set sysctl {name}: it is the host's, or is set by another property")
    if needed not in kinds:
        raise InvalidArgument(f"cannot set sysctl {name}: the {needed} namespace is the host's")
