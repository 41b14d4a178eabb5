"""Capabilities by name and number, and the set that a container gets (capabilities(7), linux/capability.h).

This module is on the start path of ``run``: it imports the error tree only.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# In the order of their numbers.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

# What programs in images were found to need and no more: no raw sockets, no device nodes, no audit records.
DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

ALL = (1 << len(NAMES)) - 1


def normalise(name: str) -> str:
    """Returns a capability's full name from Docker's spellings (``net_admin``, ``CAP_NET_ADMIN``, ``ALL``).

    Raises InvalidArgument, with the nearest name as the hint.
    """
    full = name.upper()
    if full == "ALL":
        return full
    if not full.startswith("CAP_"):
        full = "CAP_" + full
    if full not in NAMES:
        raise InvalidArgument(f"cannot use capability {name!r}: there is none of this name", hint=_hint(full))
    return full


def _hint(wrong: str) -> str:
    import difflib  # only when the message is written

    near = difflib.get_close_matches(wrong, NAMES, n=1, cutoff=0.4)
    return f"did you mean {near[0].removeprefix('CAP_')}?" if near else "capabilities(7) lists the names; ALL means every one"


def effective(add: Sequence[str], drop: Sequence[str], *, privileged: bool) -> list[str]:
    """Returns the names a container holds, in the order of their numbers. `add` and `drop` are normalised, as Docker reads them:
    ALL first, then the single names; what is dropped by name stays dropped.
    """
    if privileged:
        return list(NAMES)
    if "ALL" in add:
        return [name for name in NAMES if name not in drop]
    base: Iterable[str] = () if "ALL" in drop else DEFAULT
    held = (set(base) - set(drop)) | (set(add) - set(drop))
    return [name for name in NAMES if name in held]


def mask(names: Iterable[str]) -> int:
    """Returns the bits of `names`. Raises InvalidArgument for a name that is not a capability."""
    bits = 0
    for name in names:
        if name not in NAMES:
            raise InvalidArgument(f"cannot use capability {name!r}: there is none of this name", hint=_hint(name))
        bits |= 1 << NAMES.index(name)
    return bits
