"""What a machine allows beyond what a container's own start shows: each probe asks the kernel, and makes nothing that stays."""

from __future__ import annotations

import ctypes
import os

from estiba.linux import kvm as guest

_SYS_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_CREATE_RULESET_VERSION = 1


class Finding:
    """One feature: `name`, `works`, `reason` (what was seen), `remedy` (what would change it, empty where nothing need be done).

    `needed` tells that no container runs without it.
    """

    __slots__ = ("name", "needed", "reason", "remedy", "works")

    def __init__(self, name: str, works: bool, reason: str, remedy: str = "", *, needed: bool = False) -> None:
        self.name = name
        self.works = works
        self.reason = reason
        self.remedy = remedy
        self.needed = needed

    def to_json(self) -> dict[str, object]:
        """The finding as members of a JSON object."""
        return {name: getattr(self, name) for name in ("name", "works", "needed", "reason", "remedy")}


def read_setting(path: str) -> str:
    """Returns a sysctl's text, empty where the kernel has no such setting."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (FileNotFoundError, PermissionError):
        return ""


def kernel() -> Finding:
    """The oldest kernel is 6.1."""
    release = os.uname().release
    numbers = [int(word) if word.isascii() and word.isdecimal() else 0 for word in release.split("-")[0].split(".")[:2]]
    return Finding("kernel", numbers >= [6, 1], f"Linux {release}", "Linux 6.1 or later is needed", needed=True)


def user_namespaces(uid: int) -> Finding:
    """The settings that forbid user namespaces (user_namespaces(7)); that one can be made is shown by the container."""
    for path, forbidden, remedy in (
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    ):
        only_for_users = not path.startswith("/proc/sys/user/")
        if read_setting(path) == forbidden and (uid != 0 or not only_for_users):
            return Finding("user namespaces", False, f"{path} is {forbidden}", f"as root: {remedy}", needed=True)
    return Finding("user namespaces", True, "no setting forbids them", needed=True)


def system_call_filter() -> Finding:
    """seccomp(2) with the actions that the default filter uses."""
    actions = read_setting("/proc/sys/kernel/seccomp/actions_avail").split()
    works = {"errno", "allow"} <= set(actions)
    return Finding("system-call filter", works, "seccomp" if works else "the kernel has no seccomp filters", needed=True)


def landlock() -> Finding:
    """The kernel's Landlock ABI (landlock_create_ruleset(2)); a second wall around unpacking where it is there."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return Finding("landlock", False, os.strerror(ctypes.get_errno()), "a kernel with CONFIG_SECURITY_LANDLOCK, and lsm= naming it")
    return Finding("landlock", True, f"ABI {version}")


def kvm() -> Finding:
    """Whether a guest runs on /dev/kvm as hardware would run it (linux/kvm.py)."""
    works, reason = guest.probe()
    return Finding("KVM", works, reason, f"{kvm_remedy()}; containers need none of it")


def kvm_remedy() -> str:
    """What would let guests run on KVM: it is not there, or not this user's, or does not run them as hardware would."""
    try:
        os.close(os.open(guest.DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        if os.geteuid() == 0:
            return f"give the outer container the device: --device {guest.DEVICE}"
        return "as root: usermod --append --groups kvm USER, then log in again"
    except OSError:
        return "load the module kvm_intel or kvm_amd; where it fails, enable virtualization in the firmware, or nested in the outer machine"
    return "ask whoever runs the outer machine for nested virtualization by its hardware; QEMU emulates the processor until then"
