"""What a caller may ask of `run`: every flag as a typed attribute with its default.

Strings from a command line become these values in `estiba.runtime.parse_options`. Units: bytes for sizes, nanoseconds of
processor time per second for `nano_cpus` (Docker's NanoCpus), microseconds for `cpu_period` and `cpu_quota`.
This module is on the start path of ``run``: it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    MountType = Literal["bind", "tmpfs", "volume"]
    PullPolicy = Literal["always", "missing", "never"]
    RestartPolicy = Literal["no", "always", "on-failure", "unless-stopped"]
    Namespace = Literal["private", "host"]
    Isolation = Literal["container", "para", "partial", "full", "auto"]


class MountRequest:
    """One -v, --mount or --tmpfs.

    `source` is an absolute host path of a bind, empty for a tmpfs and for a volume without a name. `size` (bytes) and `mode`
    are a tmpfs's; None is the kernel's default. `recursive` binds what is mounted below the source too; `read_only` is then
    recursive as well unless `recursive_read_only` is false. `executable` false adds noexec.
    """

    __slots__ = (
        "create_source",
        "executable",
        "mode",
        "propagation",
        "read_only",
        "recursive",
        "recursive_read_only",
        "size",
        "source",
        "target",
        "type",
    )

    def __init__(self, type: MountType, target: str, source: str = "", *, read_only: bool = False) -> None:  # noqa: A002 - Docker's key
        self.type: MountType = type
        self.source = source
        self.target = target
        self.read_only = read_only
        self.recursive = True
        self.recursive_read_only = True
        self.executable = type != "tmpfs"
        self.propagation = "rprivate"
        self.size: int | None = None
        self.mode: int | None = None
        self.create_source = False


class Device:
    """One --device: a host path, where it appears, and which of ``rwm`` is allowed."""

    __slots__ = ("permissions", "source", "target")

    def __init__(self, source: str, target: str, permissions: str) -> None:
        self.source = source
        self.target = target
        self.permissions = permissions


class LogOptions:
    """--log-driver and --log-opt: `driver` cri or none, `max_size` of a file in bytes (0: no limit), `max_file` of them; `labels` and the
    variables of `env` are what `logs --details` shows.
    """

    __slots__ = ("driver", "env", "labels", "max_file", "max_size")

    def __init__(self) -> None:
        self.driver = "cri"
        self.max_size = 10 << 20
        self.max_file = 3
        self.labels: list[str] = []
        self.env: list[str] = []

    def state(self) -> dict[str, object]:
        """As the container's state.json has it."""
        return {name: getattr(self, name) for name in self.__slots__}


class HealthOptions:
    """--health-cmd and the like, and --no-healthcheck: `command` for a shell, times in nanoseconds. What is None or 0 is the image's, or
    Docker's default.
    """

    __slots__ = ("command", "interval", "off", "retries", "start_interval", "start_period", "timeout")

    def __init__(self) -> None:
        self.off = False
        self.command: str | None = None
        self.interval = 0
        self.timeout = 0
        self.start_period = 0
        self.start_interval = 0
        self.retries = 0


class RunOptions:
    """Every option of `run`. An attribute that is None was not given, and the image's or the engine's default counts."""

    __slots__ = (
        "add_hosts",
        "annotations",
        "attach",
        "blkio_weight",
        "blkio_weight_devices",
        "cap_add",
        "cap_drop",
        "cgroup_parent",
        "cgroupns",
        "cidfile",
        "command",
        "cpu_period",
        "cpu_quota",
        "cpu_shares",
        "cpuset_cpus",
        "cpuset_mems",
        "detach",
        "detach_keys",
        "device_rules",
        "devices",
        "dns",
        "dns_options",
        "dns_search",
        "domainname",
        "dry_run",
        "emulate",
        "entrypoint",
        "env",
        "env_files",
        "environ",
        "explain",
        "expose",
        "group_add",
        "health",
        "hostname",
        "image",
        "init",
        "interactive",
        "io_limits",
        "ipc",
        "isolation",
        "kernel",
        "label_files",
        "labels",
        "log",
        "memory",
        "memory_reservation",
        "memory_swap",
        "memory_swappiness",
        "mounts",
        "name",
        "nano_cpus",
        "network",
        "no_new_privileges",
        "oom_kill_disable",
        "oom_score_adj",
        "pid",
        "pids_limit",
        "platform",
        "privileged",
        "publish",
        "pull",
        "quiet",
        "read_only",
        "restart",
        "restart_maximum",
        "rm",
        "seccomp",
        "shm_size",
        "sig_proxy",
        "snapshot",
        "stop_signal",
        "stop_timeout",
        "sysctls",
        "tty",
        "ulimits",
        "unmasked",
        "user",
        "userns",
        "uts",
        "volumes_from",
        "with_images",
        "workdir",
    )

    def __init__(self, image: str = "", command: Sequence[str] = ()) -> None:
        self.image = image
        self.command: tuple[str, ...] = tuple(command)
        self.with_images: list[str] = []
        self.platform: str | None = None
        self.pull: PullPolicy = "missing"
        self.quiet = False

        self.name: str | None = None
        self.rm = False
        self.restart: RestartPolicy = "no"
        self.restart_maximum = 0  # attempts of on-failure, 0 for no limit
        self.health: HealthOptions | None = None  # None: what the image says
        self.detach = False
        self.attach: list[str] = []  # of stdin, stdout and stderr; empty: what there is
        self.cidfile: str | None = None
        self.labels: dict[str, str] = {}
        self.label_files: list[str] = []
        self.annotations: dict[str, str] = {}
        self.explain = False
        self.dry_run = False

        # `env` holds NAME=VALUE or NAME; a NAME alone takes its value from `environ`, which the caller fills.
        self.env: list[str] = []
        self.env_files: list[str] = []
        self.environ: Mapping[str, str] = {}
        self.workdir: str | None = None
        self.user: str | None = None
        self.entrypoint: str | None = None
        self.group_add: list[str] = []
        self.init = False
        self.tty = False
        self.interactive = False
        self.sig_proxy = True
        self.snapshot = True  # a machine begins where one like it was parked
        self.detach_keys = b"\x10\x11"  # ctrl-p, ctrl-q
        self.log = LogOptions()
        self.stop_signal: int | None = None
        self.stop_timeout: int | None = None

        self.mounts: list[MountRequest] = []
        self.volumes_from: list[tuple[str, bool]] = []
        self.devices: list[Device] = []
        self.read_only = False
        self.shm_size: int | None = None

        self.cap_add: list[str] = []
        self.cap_drop: list[str] = []
        self.privileged = False
        self.no_new_privileges = False
        self.seccomp: str | None = None  # None our profile, "unconfined", or the path of a profile in Docker's JSON
        self.unmasked = False
        self.userns: Namespace = "private"

        self.isolation: Isolation = "container"
        self.emulate = ""  # parts of a machine, with commas between
        self.kernel: str | None = None  # an image of a kernel, or the path of one

        self.network = "none"
        self.pid: Namespace = "private"
        self.ipc: Namespace = "private"
        self.uts: Namespace = "private"
        self.cgroupns: Namespace = "private"
        self.hostname: str | None = None
        self.domainname: str | None = None
        self.add_hosts: list[tuple[str, str]] = []
        self.dns: list[str] = []
        self.dns_search: list[str] = []
        self.dns_options: list[str] = []
        self.publish: list[str] = []
        self.expose: list[str] = []
        self.sysctls: dict[str, str] = {}

        self.ulimits: dict[str, tuple[int, int]] = {}
        self.memory: int | None = None
        self.memory_swap: int | None = None
        self.memory_reservation: int | None = None
        self.memory_swappiness: int | None = None
        self.oom_kill_disable = False
        self.nano_cpus: int | None = None
        self.cpu_period: int | None = None
        self.cpu_quota: int | None = None
        self.cpu_shares: int | None = None
        self.cpuset_cpus: str | None = None
        self.cpuset_mems: str | None = None
        self.pids_limit: int | None = None
        self.blkio_weight: int | None = None
        self.blkio_weight_devices: list[tuple[str, int]] = []  # path, weight
        self.io_limits: list[tuple[str, str, int]] = []  # flag, path, bytes or operations in a second
        self.device_rules: list[dict[str, object]] = []  # as linux.resources.devices of the OCI spec
        self.cgroup_parent: str | None = None
        self.oom_score_adj: int | None = None
