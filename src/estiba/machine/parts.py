"""What a machine is made of, for the command line of its monitor. On the start path."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Parts:
    """Paths are the jail's. `memory` in bytes; `disks` with whether they are written to; `binds` tells that the guest sees binds,
    `volatile` that nothing it writes need survive a power cut, `park` whether the guest is parked after its boot ("begin") or begins
    there ("wake"), `boot` the disk from which a firmware loads the kernel, empty where there is none.
    """

    __slots__ = ("binds", "boot", "disks", "kernel", "memory", "park", "volatile")

    def __init__(
        self,
        kernel: str,
        memory: int,
        disks: Sequence[tuple[str, bool]],
        *,
        binds: bool = False,
        volatile: bool = False,
        park: str = "",
        boot: str = "",
    ) -> None:
        self.kernel = kernel
        self.memory = memory
        self.disks = disks
        self.binds = binds
        self.volatile = volatile
        self.park = park
        self.boot = boot
