"""`info --security`: what a container without options gets on this machine, row by row.

Nothing is said from memory: the rows are read from the OCI spec that `run` would make here, and from what the kernel answers.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiba.linux import facts, idmap, probes
from estiba.oci.image_config import ImageConfig
from estiba.runtime import capabilities, mounts, seccomp_default
from estiba.runtime.options import MountRequest, RunOptions
from estiba.runtime.spec import NESTED, SECCOMP, build_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.config.settings import Settings
    from estiba.linux.facts import HostFacts

    Row = tuple[str, str, bool, str]

_NAMESPACES = ("mount", "pid", "network", "ipc", "uts", "cgroup")
_KINDS = {
    "root-range": "65,536 ids that no other container has",
    "subordinate": "this user's subordinate ids, which his containers share",
    "single": "this user's own id and no other",
}
_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_CORE")


def security(settings: Settings) -> list[Row]:
    """Returns the default hardening as rows: number, what, whether a default container here has it, how.

    The numbers are those of the security model (docs/dev/security-model.md).
    """
    host = facts.gather(settings, idmap.container_maps(settings, settings.id_range_start))
    options = RunOptions("image", ["true"])
    options.mounts = [MountRequest("bind", "/volume", "/volume")]
    spec = build_spec(ImageConfig(), options, host)
    return [*_identity(spec, host), *_filter(spec), *_files(spec, host), *_limits(spec, host), *_rest(spec, settings)]


def _identity(spec: dict[str, Any], host: HostFacts) -> Iterator[Row]:
    linux, process = spec["linux"], spec["process"]
    kinds = [entry["type"] for entry in linux["namespaces"]]
    held = process["capabilities"]
    outside = "uidMappings" in linux and not any(mapping["hostID"] == 0 for mapping in linux["uidMappings"])
    nested = spec["annotations"][NESTED] == "false"
    own = [kind for kind in _NAMESPACES if kind in kinds]
    new = process["noNewPrivileges"]
    yield "S01", "user namespace", "user" in kinds and outside, _KINDS[host.maps.kind]
    yield "S01", "nested user namespaces off", nested, "user.max_user_namespaces=0" if nested else "no /proc of its own: the filter alone"
    yield "S02", "namespaces", len(own) == len(_NAMESPACES), " ".join(own)
    few = set(held["bounding"]) <= set(capabilities.DEFAULT) and "inheritable" not in held and "ambient" not in held
    yield "S03", "capabilities", few, f"{len(held['bounding'])} of {len(capabilities.NAMES)}; none inheritable or ambient"
    yield "S04", "no new privileges", new, "always" if new else "on with --security-opt no-new-privileges"


def _filter(spec: dict[str, Any]) -> Iterator[Row]:
    machine, kernel = os.uname().machine, probes.system_call_filter()
    has = spec["annotations"][SECCOMP] == "default" and machine in seccomp_default.FILTERS and kernel.works
    why = "estiba's own profile" if has else kernel.reason if not kernel.works else f"no filter for {machine}"
    yield "S05", "system-call filter", has, why
    yield "S06", "socket families", has, "unix, inet, inet6, netlink (route, sock_diag, uevent, generic)" if has else why


def _files(spec: dict[str, Any], host: HostFacts) -> Iterator[Row]:
    linux, by_target = spec["linux"], {mount["destination"]: set(mount["options"]) for mount in spec["mounts"]}
    masked, read_only = linux.get("maskedPaths", []), linux.get("readonlyPaths", [])
    yield "S07", "masked paths", set(masked) >= set(mounts.MASKED_PATHS), f"{len(masked)} paths of /proc and /sys"
    sys = "ro" in by_target["/sys"]
    paths = ("/sys, and of /proc: " if sys else "of /proc: ") + " ".join(path[6:] for path in read_only)
    yield "S08", "read-only paths", sys and set(read_only) >= set(mounts.READ_ONLY_PATHS), paths
    elsewhere = [target for target, words in by_target.items() if target not in ("/dev", "/dev/pts") and "nodev" not in words]
    nodes = f"{len(mounts.DEVICES)} nodes and terminals of its own; other mounts nodev"
    yield "S09", "devices", not elsewhere and not host.devices, nodes if not elsewhere else f"devices on {' '.join(elsewhere)}"
    flags = by_target["/volume"] & {"nosuid", "nodev"}
    yield "S11", "binds without set-uid programs and devices", len(flags) == 2, ", ".join(sorted(flags)) or "neither"


def _limits(spec: dict[str, Any], host: HostFacts) -> Iterator[Row]:
    limits = {limit["type"]: limit["hard"] for limit in spec["process"]["rlimits"]}
    pids = spec["linux"]["resources"].get("pids")
    why = "" if pids else f" for each user (RLIMIT_NPROC): {host.cgroups.reason('pids')}"
    yield "S10", "limit of processes", pids is not None, f"{pids['limit'] if pids else limits['RLIMIT_NPROC']}{why}"
    text = ", ".join(f"{name[7:].lower()} {limits[name]}" for name in _LIMITS if name in limits)
    yield "S10", "limits of files, memory locks, core", all(name in limits for name in _LIMITS), text
    memory = host.cgroups.available("memory")
    yield "S10", "limit of memory", False, "with -m" if memory else f"cannot be had: {host.cgroups.reason('memory')}"


def _rest(spec: dict[str, Any], settings: Settings) -> Iterator[Row]:
    network = any(entry["type"] == "network" for entry in spec["linux"]["namespaces"])
    modules = {"apparmor", "selinux"} & set(probes.read_setting("/sys/kernel/security/lsm").split(","))
    yield "S12", "network", network, "none but its own loopback" if network else "the host's"
    here = f"; {' and '.join(sorted(modules))} is active on this host" if modules else ""
    yield "S13", "security module profile", False, f"profiles are not applied; asking for one is refused{here}"
    sealed = probes.read_setting("/proc/sys/vm/memfd_noexec") != "2" or settings.uid == 0
    how = "not dumpable, sealed program" if sealed else "vm.memfd_noexec=2 forbids a sealed program: no container starts"
    yield "S14", "monitor and keeper", sealed, how
    yield "S15", "fail closed", True, "what is asked for and cannot be had ends the start"
