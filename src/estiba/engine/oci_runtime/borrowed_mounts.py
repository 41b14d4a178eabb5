"""The mounts of a container that has no mount namespace of its own: all of them are on or below its root, which is mounted over its own
folder in the caller's mount namespace, and are taken off there.

How many mounts were on that folder before is in the container's record, as nothing else tells the container's from another's.
"""

from __future__ import annotations

import os

from estiba.errors import FailedPrecondition
from estiba.linux import mountinfo

_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8


def count(root: str) -> int:
    """How many mounts are on the folder `root`, one over the other."""
    return sum(1 for mount in mountinfo.read() if mount.target == root)


def take_off(root: str, before: int) -> None:
    """Detaches what was mounted on `root` since there were `before`, and all that is below (umount2(2)). Raises FailedPrecondition."""
    import ctypes

    # Counted again each time: where the folder was mounted over itself, one call makes, and one takes off, several (propagation).
    while count(root) > before:
        if ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(root), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
            raise FailedPrecondition(f"cannot unmount {root}: {os.strerror(ctypes.get_errno())}")
