"""`info`: this installation, this machine, and what protects a container on it."""

from __future__ import annotations

import os

import estiba
from estiba.config.settings import Settings
from estiba.engine.containers import list_containers
from estiba.linux import cgroup, idmap, mountinfo, probes
from estiba.runtime import capabilities
from estiba.store import references
from estiba.store.layout import Store

_KINDS = {
    "root-range": "always, 65,536 ids that no other container has",
    "subordinate": "always, this user's subordinate ids",
    "single": "always, one id: files of other owners appear as root's",
}


def info(store: Store, settings: Settings) -> dict[str, object]:
    """The facts as names and values, nested where they belong together. Raises DataLoss, FailedPrecondition."""
    machine, containers = os.uname(), list_containers(store)
    states = [container.status for container in containers]
    return {
        "Version": estiba.__version__,
        "Store": {
            "Root": store.root,
            "FileSystem": _file_system(store.root),
            "References": len(references.names(store)),
            "Containers": len(containers),
            "Running": states.count("running"),
            "Paused": states.count("paused"),
        },
        "Runtime": settings.runtime_dir,
        "Machine": {
            "Kernel": f"{machine.sysname} {machine.release}",
            "Architecture": machine.machine,
            "Processors": len(os.sched_getaffinity(0)),
            "Memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
        "Limits": _limits(settings),
        "Security": _security(settings),
    }


def _file_system(path: str) -> str:
    mount = mountinfo.covering(mountinfo.read(), os.path.realpath(path))
    return mount.fstype if mount else "unknown"


def _limits(settings: Settings) -> dict[str, object]:
    host = cgroup.Host.of(settings, mountinfo.read())
    return {
        name: host.folders[name] if host.available(name) else f"no: {host.reasons.get(name, 'no hierarchy has it')}"
        for name in ("memory", "cpu", "pids", "cpuset", "devices")
    }


def _security(settings: Settings) -> dict[str, object]:
    """The rows of the security model (docs/dev/security-model.md), as they are on this machine."""
    host, landlock = cgroup.Host.of(settings, mountinfo.read()), probes.landlock()
    return {
        "UserNamespace": _KINDS[idmap.layer_maps(settings).kind],
        "NestedUserNamespaces": "off",
        "Capabilities": list(capabilities.DEFAULT),
        "NoNewPrivileges": "off, on with --security-opt no-new-privileges",
        "SystemCallFilter": "yes" if probes.system_call_filter().works else "no: the kernel has no seccomp filters",
        "MaskedPaths": "yes",
        "ProcessLimit": "2048" if host.available("pids") else "no: " + host.reasons.get("pids", "no hierarchy has the controller"),
        "Network": "none, a namespace of its own",
        "UnpackJail": "user namespace, filter" + (", landlock" if landlock.works else ""),
        "SecurityModule": "none: estiba brings no AppArmor or SELinux profile",
    }
