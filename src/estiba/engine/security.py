"""`info --security`: the default hardening, row by row, and what of it holds on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from estiba.linux import facts, idmap
from estiba.runtime import capabilities, mounts, seccomp_default
from estiba.runtime.limits import PIDS_LIMIT

if TYPE_CHECKING:
    from estiba.config.settings import Settings


def security(settings: Settings) -> list[tuple[str, str, bool, str]]:
    """Returns the default hardening as rows: number, what, whether a default container here has it, how.

    The numbers are those of the security model (docs/dev/security-model.md).
    """
    host = facts.gather(settings, idmap.container_maps(settings, None))
    filtered = os.uname().machine in seccomp_default.FILTERS
    unique = host.maps.kind == "root-range"
    pids = host.cgroups.available("pids")
    return [
        ("S01", "user namespace", True, "65,536 ids that no other container has" if unique else f"shared ids ({host.maps.kind})"),
        ("S01", "nested user namespaces off", True, "user.max_user_namespaces=0"),
        ("S02", "namespaces", True, "mount pid network ipc uts cgroup"),
        ("S03", "capabilities", True, f"{len(capabilities.DEFAULT)} of {len(capabilities.NAMES)}; none inheritable or ambient"),
        ("S04", "no new privileges", False, "on with --security-opt no-new-privileges"),
        ("S05", "system-call filter", filtered, "estiba's own profile" if filtered else f"no filter for {os.uname().machine}"),
        ("S06", "socket families", filtered, "unix, inet, inet6, netlink (route, sock_diag, uevent, generic)"),
        ("S07", "masked paths", True, f"{len(mounts.MASKED_PATHS)} paths of /proc and /sys"),
        ("S08", "read-only paths", True, "/sys, and of /proc: " + " ".join(path[6:] for path in mounts.READ_ONLY_PATHS)),
        ("S09", "devices", True, f"{len(mounts.DEVICES)} nodes and terminals of its own; other mounts nodev"),
        ("S10", "limit of processes", True, f"{PIDS_LIMIT}" + ("" if pids else " for each user (RLIMIT_NPROC: no pids controller)")),
        ("S10", "limits of files, memory locks, core", True, "as in the default limits"),
        ("S11", "binds without set-uid programs and devices", True, "nosuid, nodev"),
        ("S12", "network", True, "none but its own loopback"),
        ("S13", "security module profile", False, "profiles are not applied; asking for one is refused"),
        ("S14", "monitor and keeper", True, "not dumpable, sealed program"),
        ("S15", "fail closed", True, "what is asked for and cannot be had ends the start"),
    ]
