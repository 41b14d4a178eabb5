"""Image configuration + options + facts of the machine -> OCI runtime spec (runtime-spec 1.2, config.md).

Pure. What the specification has no word for is in annotations ``org.estiba.*``: `USER` (a user that is a name, resolved inside by
the helper), `INIT`, `SECCOMP` (which filter), `NESTED` (whether user namespaces may be nested), `STOP_SIGNAL`.
On the start path of ``run``.
"""

from __future__ import annotations

from estiba.errors import FailedPrecondition, InvalidArgument, NoCommand, PermissionDenied
from estiba.oci.user import is_id, parse_user
from estiba.runtime import capabilities, limits, mounts
from estiba.runtime.parse_limits import UNLIMITED
from estiba.runtime.parse_options import RLIMITS, signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiba.linux.facts import HostFacts
    from estiba.linux.idmap import IdMaps
    from estiba.oci.image_config import ImageConfig
    from estiba.runtime.options import RunOptions

    Spec = dict[str, Any]

VERSION = "1.2.0"
USER = "org.estiba.user"
GROUPS = "org.estiba.groups"
INIT = "org.estiba.init"
SECCOMP = "org.estiba.seccomp"
NESTED = "org.estiba.nested-user-namespaces"
STOP_SIGNAL = "org.opencontainers.image.stopSignal"  # image-spec, conversion.md

_NOFILE = (1024, 524288)
_MEMLOCK = 8 * 1024 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INFINITY = (1 << 64) - 1


def build_spec(config: ImageConfig, options: RunOptions, facts: HostFacts) -> Spec:
    """Returns the container's runtime spec.

    `options.hostname` is set by the caller where the user gave none. Raises NoCommand, InvalidArgument for options that exclude
    each other, FailedPrecondition for a limit that this machine does not let the caller set, PermissionDenied for --userns host.
    """
    _check(options, facts)
    return {
        "ociVersion": VERSION,
        "process": _process(config, options, facts),
        "root": {"path": "rootfs", "readonly": options.read_only},
        "hostname": options.hostname or "",
        **({"domainname": options.domainname} if options.domainname else {}),
        "mounts": _mounts(options, facts),
        "annotations": _annotations(config, options, facts),
        "linux": _linux(options, facts),
    }


def _check(options: RunOptions, facts: HostFacts) -> None:
    if options.kernel is not None and options.isolation == "container":
        raise InvalidArgument("cannot use --kernel: --isolation container runs on the host's kernel", hint="add --isolation para")
    if options.uts == "host" and (options.hostname or options.domainname):
        raise InvalidArgument("cannot set a host name: --uts host shares the host's")
    if options.userns == "host" and facts.uid != 0:
        raise PermissionDenied("cannot use --userns host: only root can run a container without a user namespace")
    if options.ipc == "host" and options.shm_size is not None:
        raise InvalidArgument("cannot use --shm-size: --ipc host shares the host's /dev/shm")


# --- process -----------------------------------------------------------------------------------------------------------


def _process(config: ImageConfig, options: RunOptions, facts: HostFacts) -> Spec:
    held = capabilities.effective(options.cap_add, options.cap_drop, privileged=options.privileged)
    process: Spec = {
        "terminal": options.tty,
        "user": _user(config, options),
        "args": arguments(config, options),
        "env": environment(config, options),
        "cwd": options.workdir or config.working_dir or "/",
        "capabilities": {"bounding": held, "effective": held, "permitted": held},
        "rlimits": _rlimits(options, facts),
        "noNewPrivileges": options.no_new_privileges,
    }
    if options.oom_score_adj is not None:
        process["oomScoreAdj"] = options.oom_score_adj
    return process


def arguments(config: ImageConfig, options: RunOptions) -> list[str]:
    """Returns entrypoint and command as Docker joins them: --entrypoint drops the image's Cmd as well, and empty drops both."""
    if options.entrypoint is not None:
        words = ([options.entrypoint] if options.entrypoint else []) + list(options.command)
    else:
        words = list(config.entrypoint) + (list(options.command) or list(config.cmd))
    if not words:
        raise NoCommand(f"cannot run {options.image}: no command", hint="the image has none: name a program after the image")
    return words


def entrypoint_words(config: ImageConfig, options: RunOptions) -> int:
    """How many words of `arguments` are the entrypoint; the others are the command."""
    return len(config.entrypoint) if options.entrypoint is None else int(bool(options.entrypoint))


def environment(config: ImageConfig, options: RunOptions) -> list[str]:
    """Returns the environment: defaults, the image's, the caller's, later ones over earlier ones."""
    variables: dict[str, str] = {"PATH": _PATH}
    if options.hostname:
        variables["HOSTNAME"] = options.hostname
    if options.tty:
        variables["TERM"] = "xterm"
    for entry in config.env:
        name, _, value = entry.partition("=")
        variables[name] = value
    return with_callers(variables, options)


def with_callers(variables: dict[str, str], options: RunOptions) -> list[str]:
    """Returns an environment: `variables`, and over them what the caller gave (`options.env`)."""
    for entry in options.env:
        name, separator, value = entry.partition("=")
        if separator:
            variables[name] = value
        elif name in options.environ:
            variables[name] = options.environ[name]
        else:
            variables.pop(name, None)  # as Docker: a name without a value anywhere unsets it
    return [f"{name}={value}" for name, value in variables.items()]


def _user(config: ImageConfig, options: RunOptions) -> Spec:
    user, group = parse_user(options.user or config.user or "0")
    ids: Spec = {"uid": int(user) if is_id(user) else 0, "gid": int(group) if group and is_id(group) else 0, "umask": 0o022}
    extra = [int(name) for name in options.group_add if is_id(name)]
    return {**ids, "additionalGids": extra} if extra else ids


def _rlimits(options: RunOptions, facts: HostFacts) -> list[Spec]:
    wanted: dict[str, tuple[int, int]] = {"core": (0, 0), "nofile": _NOFILE, "memlock": (_MEMLOCK, _MEMLOCK)}
    pids = limits.pids(options)
    if pids != UNLIMITED:
        wanted["nproc"] = (pids, pids)
    chosen = {name: tuple(_lesser(value, facts.rlimits[RLIMITS[name]]) for value in pair) for name, pair in wanted.items()}
    for name, pair in options.ulimits.items():
        hard = facts.rlimits[RLIMITS[name]]
        if hard != UNLIMITED and (pair[1] == UNLIMITED or pair[1] > hard):
            raise FailedPrecondition(
                f"cannot use --ulimit {name}: its hard limit here is {hard}", hint=f"raise it for the calling shell: ulimit -H ({name})"
            )
        chosen[name] = pair
    return [
        {"type": "RLIMIT_" + name.upper(), "soft": soft % (_INFINITY + 1), "hard": high % (_INFINITY + 1)}
        for name, (soft, high) in chosen.items()
    ]


def _lesser(value: int, hard: int) -> int:
    return value if hard == UNLIMITED else min(value, hard)


# --- mounts ------------------------------------------------------------------------------------------------------------


def _mounts(options: RunOptions, facts: HostFacts) -> list[Spec]:
    asked = mounts.user_mounts(options.mounts)
    standard = mounts.standard(options, facts)
    whole = any(mount["source"] == "/dev" for mount in standard)  # of --privileged as root: every node is in it
    nodes = mounts.device_mounts(options.devices, facts.devices if options.privileged and not whole else ())
    targets = {mount["destination"] for mount in asked + nodes}
    own = [mount for mount in standard if mount["destination"] not in targets]
    return own + nodes + asked


# --- linux ---------------------------------------------------------------------------------------------------------------


def _linux(options: RunOptions, facts: HostFacts) -> Spec:
    linux: Spec = {
        "namespaces": [{"type": kind} for kind in namespaces(options)],
        "resources": limits.resources(options, facts),
        "sysctl": _sysctls(options, facts),
        "rootfsPropagation": "rslave",
    }
    if options.userns == "private":
        linux |= mappings(facts.maps)
    if not (options.privileged or options.unmasked):
        linux["maskedPaths"] = list(mounts.MASKED_PATHS)
        linux["readonlyPaths"] = list(mounts.READ_ONLY_PATHS)
    return linux


def namespaces(options: RunOptions) -> list[str]:
    """Returns the types of the namespaces that the container gets of its own."""
    kinds = ["mount"]
    for kind, choice in (
        ("pid", options.pid),
        ("ipc", options.ipc),
        ("uts", options.uts),
        ("cgroup", options.cgroupns),
        ("user", options.userns),
    ):
        if choice == "private":
            kinds.append(kind)
    return kinds if options.network == "host" else [*kinds, "network"]


def mappings(maps: IdMaps) -> Spec:
    """Returns uidMappings and gidMappings."""
    return {"uidMappings": _mappings(maps.uid_map), "gidMappings": _mappings(maps.gid_map)}


def _mappings(lines: tuple[str, ...]) -> list[Spec]:
    rows = [line.split(" ") for line in lines]
    return [{"containerID": int(inside), "hostID": int(outside), "size": int(count)} for inside, outside, count in rows]


def _sysctls(options: RunOptions, facts: HostFacts) -> dict[str, str]:
    values: dict[str, str] = {}
    if options.network != "host" and facts.own_proc:
        # A container's ports are its own, and echo sockets need no capability: so ping works without CAP_NET_RAW.
        last = 0 if facts.maps.kind == "single" else 65535
        values = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {last}"}
    if options.sysctls and not facts.own_proc:
        raise FailedPrecondition(
            "cannot set sysctls: an outer container hides parts of /proc, so this one has none of its own",
            hint="start the outer one with --security-opt systempaths=unconfined",
        )
    for name, value in options.sysctls.items():
        kind = "network" if name.startswith(("net.", "net/")) else "uts" if name == "kernel.domainname" else "ipc"
        if kind not in namespaces(options):
            raise InvalidArgument(f"cannot set sysctl {name}: the {kind} namespace is the host's")
        values[name] = value
    return values


# --- annotations ---------------------------------------------------------------------------------------------------------


def _annotations(config: ImageConfig, options: RunOptions, facts: HostFacts) -> dict[str, str]:
    user, group = parse_user(options.user or config.user or "0")
    values = {**options.annotations, USER: f"{user}:{group}" if group else user}
    if options.group_add:
        values[GROUPS] = ",".join(options.group_add)
    if options.init:
        values[INIT] = "true"
    values[SECCOMP] = "unconfined" if options.privileged else options.seccomp or "default"
    # Switched off by a sysctl, for which the container needs a /proc of its own; the filter refuses them in any case.
    values[NESTED] = "true" if options.privileged or options.userns == "host" or not facts.own_proc else "false"
    values[STOP_SIGNAL] = str(stop_signal(config, options))
    return values


def stop_signal(config: ImageConfig, options: RunOptions) -> int:
    """Returns the number of the signal that asks the container's program to stop."""
    if options.stop_signal is not None:
        return options.stop_signal
    return signal_number(config.stop_signal, "the image's StopSignal") if config.stop_signal else 15
