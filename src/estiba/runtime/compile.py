"""OCI runtime spec + bindings -> the helper's operations (helper/ops.toml). Pure.

The order inside the container, and why:

 1  overlay, then the file systems in the spec's order, then files and links: while all of the host can still be reached.
 2  host and domain name, loopback, sysctls through the procfs made just now, before parts of it become read-only.
 3  masked and read-only paths, and the root itself, when every target of a mount was made in it.
 4  pivot: from here on the host cannot be reached by any path.
 5  limits, then the working directory while still root (it may have to be made).
 6  without no_new_privileges the filter, which needs CAP_SYS_ADMIN (seccomp(2)); then bounding set, user, capabilities.
 7  with no_new_privileges: the bit, then the filter last of all, so that it need not allow what step 6 does.
 8  execute.

On the start path of ``run``.
"""

from __future__ import annotations

from estiba.plan import ops
from estiba.runtime import capabilities, mounts
from estiba.runtime.parse_options import RLIMITS
from estiba.runtime.spec import GROUPS, INIT, NESTED, USER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from estiba.linux.idmap import IdMaps
    from estiba.plan.ops import Op

NO_SLOT = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF

# clone(2)
_CLONE = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}


class Slot:
    """A descriptor that the helper inherits, and the path it was opened at (empty where it is only read or written)."""

    __slots__ = ("descriptor", "path")

    def __init__(self, descriptor: int, path: str = "") -> None:
        self.descriptor = descriptor
        self.path = path


class Bindings:
    """What a plan needs beside the spec: the slots, the layers, the streams and what is to be done afterwards.

    `slots` in the order of their numbers; the attributes that name one hold its number. `lowers` are paths beneath the `layers`
    slot, topmost first. `binds` maps a mount's destination to the slot of its source, `volumes` that of a folder of the container's
    own; `devices` are host device nodes that the caller, never an image, named. `files` are (slot, target) pairs bound
    before the caller's mounts. `cgroups` are slots, each with its program of devices or nothing. `binfmt` is the
    slot of a folder and the rule that names an interpreter there. `idmapped` slots reach the container through its own user
    namespace's map. `window` is rows and columns of a terminal. `stdin` is 0, 1 or 2;
    `announce` is what a client says that is not attached;
    `muted` are the output streams that the client does not copy: 1 output, 2 error. `log`, `events` and `listen` are what the
    operations of these names take. `cleanup` are the operations of the after section. In a guest's plan `prepare` comes first and binds
    the slots; in that of a machine's jail `machine` stands in the place of `execute`.
    """

    __slots__ = (
        "announce",
        "attached",
        "binds",
        "binfmt",
        "cgroups",
        "cleanup",
        "detach_keys",
        "devices",
        "events",
        "files",
        "idmapped",
        "layers",
        "listen",
        "log",
        "lowers",
        "machine",
        "maps",
        "muted",
        "prepare",
        "report",
        "seccomp",
        "signal_proxy",
        "slots",
        "status",
        "stdin",
        "trace",
        "upper",
        "volatile",
        "volumes",
        "window",
    )

    def __init__(self, maps: IdMaps) -> None:
        self.maps = maps
        self.slots: list[Slot] = []
        self.layers = NO_SLOT
        self.lowers: list[str] = []
        self.upper = NO_SLOT
        self.volatile = False
        self.binds: dict[str, int] = {}
        self.volumes: dict[str, int] = {}
        self.binfmt: tuple[int, str] | None = None
        self.devices: frozenset[str] = frozenset()
        self.files: list[tuple[int, str]] = []
        self.idmapped: list[tuple[int, bool]] = []
        self.cgroups: list[tuple[int, bytes]] = []
        self.status: int | None = None
        self.events: tuple[int, str, bytes, bytes, bytes, bytes, bytes, bytes] | None = None
        self.listen: tuple[int, str] | None = None
        self.log: tuple[int, str, int, int] | None = None
        self.report: int | None = None
        self.trace: int | None = None
        self.seccomp: bytes | None = None
        self.stdin = 0
        self.attached = True
        self.announce = ""
        self.muted = 0
        self.signal_proxy = True
        self.detach_keys = b""
        self.window = (0, 0)
        self.cleanup: list[Op] = []
        self.prepare: list[Op] = []
        self.machine: Op | None = None

    def add(self, descriptor: int, path: str = "") -> int:
        """Adds a slot and returns its number."""
        self.slots.append(Slot(descriptor, path))
        return len(self.slots) - 1


def compile_plan(spec: dict[str, Any], bindings: Bindings) -> list[Op]:
    """Returns the operations that make the container which `spec` describes out of what `bindings` holds."""
    return [
        *_host(spec, bindings),
        *_file_systems(spec, bindings),
        *_identity(spec),
        *_hidden(spec),
        ops.pivot(),
        *process_ops(spec, bindings.seccomp, bindings.machine),
        *bindings.cleanup,
    ]


# --- host --------------------------------------------------------------------------------------------------------------


def _host(spec: dict[str, Any], bindings: Bindings) -> Iterator[Op]:
    yield from bindings.prepare
    for number, slot in enumerate(bindings.slots):
        yield ops.slot(number, slot.descriptor, slot.path)
    kinds = _namespaces(spec)
    if "user" in kinds:
        maps = bindings.maps
        yield ops.user_namespace(maps.uid_map, maps.gid_map, maps.setgroups, maps.newuidmap, maps.newgidmap)
    yield ops.namespaces(namespace_flags(spec) & ~_CLONE["user"])
    for number, recursive in bindings.idmapped:
        yield ops.idmap(number, int(recursive))
    for number, devices in bindings.cgroups:
        yield ops.cgroup(number)
        if devices:
            yield ops.cgroup_devices(number, devices)
    terminal = spec["process"]["terminal"]
    yield ops.streams(2 if terminal else 1, bindings.stdin, *bindings.window)
    yield ops.client(int(bindings.attached) and 1 | bindings.muted << 1, int(bindings.signal_proxy))
    if bindings.announce:
        yield ops.announce(bindings.announce)
    if bindings.detach_keys and terminal:
        yield ops.detach_keys(bindings.detach_keys)
    if bindings.log is not None:
        yield ops.log(*bindings.log)
    if bindings.events is not None:
        yield ops.events(*bindings.events)
    if bindings.listen is not None:
        yield ops.listen(*bindings.listen)
    for given, operation in (
        (bindings.status, ops.status),
        (bindings.report, ops.report),
        (bindings.trace, ops.trace),
    ):
        if given is not None:
            yield operation(given)


def namespace_flags(spec: dict[str, Any]) -> int:
    """CLONE_NEW* of the container's own namespaces (clone(2))."""
    flags = 0
    for kind in _namespaces(spec):
        flags |= _CLONE[kind]
    return flags


def _namespaces(spec: dict[str, Any]) -> set[str]:
    return {entry["type"] for entry in spec["linux"]["namespaces"]}


# --- the file system -----------------------------------------------------------------------------------------------------


def _file_systems(spec: dict[str, Any], bindings: Bindings) -> Iterator[Op]:
    yield ops.overlay(bindings.layers, bindings.lowers, bindings.upper, int(bindings.volatile), 0)
    standard, asked = _split(spec["mounts"])
    for mount in standard:
        yield _mount(mount, bindings)
        if mount["destination"] == "/dev":
            yield from _device_nodes(spec["mounts"], bindings)
    for number, target in bindings.files:
        if target not in bindings.binds:
            yield ops.bind(number, target, mounts.NOSUID | mounts.NODEV | mounts.NOEXEC, 0, mounts.MS_PRIVATE)
    for mount in asked:
        yield _mount(mount, bindings)
    if bindings.binfmt is not None:
        yield ops.binfmt(*bindings.binfmt)
    if spec["process"]["terminal"]:
        yield ops.console()


def _split(every: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Parts what every container has from what its caller asked for, which comes behind it."""
    first = 0
    while first < len(every) and every[first]["destination"] in mounts.STANDARD:
        first += 1
    return every[:first], every[first:]


def _device_nodes(every: list[dict[str, Any]], bindings: Bindings) -> Iterator[Op]:
    taken = {mount["destination"] for mount in every}
    for path in mounts.DEVICES if "/dev" not in bindings.binds else ():
        if path not in taken:
            yield ops.host_bind(path, path, mounts.NOSUID | mounts.NOEXEC, 0)
    for target, path in mounts.LINKS:
        yield ops.symlink(target, path)


def _mount(mount: dict[str, Any], bindings: Bindings) -> Op:
    target, words = mount["destination"], mount["options"]
    flags, rest = mounts.attributes(words)
    if mount["type"] != "bind":
        fstype = "cgroup2" if mount["type"] == "cgroup" else mount["type"]
        return ops.mount(fstype, target, flags, rest)
    recursive = int(mounts.is_recursive(words))
    if target in bindings.volumes:
        return ops.volume(bindings.volumes[target], target, flags)
    if target in bindings.binds:
        return ops.bind(bindings.binds[target], target, flags, recursive, mounts.propagation(words))
    source = mount["source"]
    if source not in bindings.devices and (target not in mounts.HOST_TREES or source != target):
        raise ValueError(f"{target} is a bind without a slot")
    return ops.host_bind(source, target, flags, recursive)


# --- names, network, procfs ------------------------------------------------------------------------------------------------


def _identity(spec: dict[str, Any]) -> Iterator[Op]:
    kinds = _namespaces(spec)
    if "uts" in kinds and spec["hostname"]:
        yield ops.hostname(spec["hostname"])
    if spec.get("domainname"):
        yield ops.domainname(spec["domainname"])
    if "network" in kinds:
        yield ops.loopback()
    for name, value in spec["linux"]["sysctl"].items():
        # sysctl(8): a name with slashes may hold dots (network devices do), one with dots has slashes for theirs.
        yield ops.sysctl(name if "/" in name else name.replace(".", "/"), value)
    if spec["annotations"].get(NESTED) == "false":
        yield ops.sysctl("user/max_user_namespaces", "0")


def _hidden(spec: dict[str, Any]) -> Iterator[Op]:
    for path in spec["linux"].get("maskedPaths", ()):
        yield ops.mask(path)
    for path in spec["linux"].get("readonlyPaths", ()):
        yield ops.readonly(path)
    if spec["root"]["readonly"]:
        yield ops.readonly_root()


# --- the process -----------------------------------------------------------------------------------------------------------


def process_ops(spec: dict[str, Any], seccomp: bytes | None, machine: Op | None = None) -> Iterator[Op]:
    """Steps 5 to 8: what becomes the program of `spec`, under the filter `seccomp`; or what `machine` says in the place of `execute`."""
    process, annotations = spec["process"], spec["annotations"]
    for limit in process["rlimits"]:
        number = RLIMITS[limit["type"].removeprefix("RLIMIT_").lower()]
        yield ops.rlimit(number, limit["soft"], limit["hard"])
    if "oomScoreAdj" in process:
        yield ops.oom_score_adj(process["oomScoreAdj"] & _MASK64)
    yield ops.working_directory(process["cwd"])
    late = process["noNewPrivileges"]
    if seccomp is not None and not late:
        yield ops.seccomp(seccomp, 0)
    held = capabilities.mask(process["capabilities"]["bounding"])
    yield ops.bounding(held)
    groups = annotations.get(GROUPS, "")
    yield ops.user(annotations[USER], groups.split(",") if groups else (), process["user"]["umask"], 1)
    yield ops.capabilities(held, held, 0, 0)
    if late:
        yield ops.no_new_privileges()
        if seccomp is not None:
            yield ops.seccomp(seccomp, 0)
    if annotations.get(INIT) == "true":
        yield ops.init()
    yield machine or ops.execute(process["args"], process["env"])
