"""`info`: this installation, this machine, and what protects a container on it."""

from __future__ import annotations

import os

import estiba
from estiba.config.settings import Settings
from estiba.engine.containers import list_containers
from estiba.engine.security import security
from estiba.linux import cgroup, mountinfo, probes
from estiba.runtime import capabilities
from estiba.store import references
from estiba.store.layout import Store


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
        name: host.folders[name] if host.available(name) else f"no: {host.reason(name)}"
        for name in ("memory", "cpu", "pids", "cpuset", "io", "devices", "freezer")
    }


def _security(settings: Settings) -> dict[str, object]:
    """The rows of the security model (docs/dev/security-model.md), as they are on this machine."""
    rows = {what: how if has else f"no: {how}" for _, what, has, how in security(settings)}
    nested = rows["nested user namespaces off"]
    return {
        "UserNamespace": rows["user namespace"],
        "NestedUserNamespaces": nested if nested.startswith("no: ") else "off",
        "Capabilities": list(capabilities.DEFAULT),
        "NoNewPrivileges": rows["no new privileges"],
        "SystemCallFilter": rows["system-call filter"],
        "MaskedPaths": rows["masked paths"],
        "ProcessLimit": rows["limit of processes"],
        "Network": rows["network"],
        "UnpackJail": "user namespace, filter" + (", landlock" if probes.landlock().works else ""),
        "SecurityModule": rows["security module profile"],
    }
