"""`features`: what this runtime can do (runtime-spec, features.md)."""

from __future__ import annotations

from estiba.engine.oci_runtime.cgroups import hierarchies
from estiba.engine.oci_runtime.config import NAMESPACES, SPEC_VERSION
from estiba.engine.oci_runtime.hooks import KINDS
from estiba.engine.oci_runtime.mount_options import known_options
from estiba.engine.oci_runtime.process_plan import FILTER_FLAGS
from estiba.runtime import capabilities, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def features() -> dict[str, Any]:
    """The document."""
    there = hierarchies()
    unified = any(hierarchy.unified for hierarchy in there)
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(KINDS),
        "mountOptions": known_options(),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": not unified, "v2": unified, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": list(seccomp.ACTIONS),
                "operators": list(seccomp.OPERATORS),
                "archs": list(seccomp.ARCHITECTURES),
                "knownFlags": list(FILTER_FLAGS),
                "supportedFlags": list(FILTER_FLAGS),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {},
        "potentiallyUnsafeConfigAnnotations": [],
    }
