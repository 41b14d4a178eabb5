"""Stops and continues all processes of a control group.

By cgroup.freeze of version 2 (cgroup-v2.rst, "Core Interface Files"), or freezer.state of version 1 (freezer-subsystem.rst).
"""

from __future__ import annotations

import errno
import os
import time

from estiba.errors import FailedPrecondition
from estiba.linux.cgroup import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE_SECONDS = 10
_PAUSE_SECONDS = 0.002


class Freezer:
    """The freezer of one group: the file `control`, what is written to it to freeze and to `thaw`."""

    __slots__ = ("_freeze", "_group", "control", "thaw_text")

    def __init__(self, group: str, *, unified: bool) -> None:
        self._group = group
        self.control = f"{group}/cgroup.freeze" if unified else f"{group}/freezer.state"
        self._freeze, self.thaw_text = ("1", "0") if unified else ("FROZEN", "THAWED")

    @classmethod
    def of(cls, groups: Iterable[str]) -> Freezer | None:
        """The freezer of the first of a container's groups that has one, or None."""
        for group in groups:
            for unified in (True, False):
                freezer = cls(group, unified=unified)
                if os.path.exists(freezer.control):
                    return freezer
        return None

    def is_frozen(self) -> bool:
        """Tells whether all processes of the group stand still."""
        try:
            if self._freeze == "FROZEN":
                return self._read("freezer.state") == "FROZEN"
            return "frozen 1" in self._read("cgroup.events").splitlines()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            return False  # the group is gone

    def freeze(self) -> None:
        """Stops the group and waits until it stands still.

        Raises FailedPrecondition when a process does not stop (it waits in the kernel for a device); the group goes on then.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        self._write(self._freeze)
        while not self.is_frozen():
            if time.monotonic() > until:
                self.thaw()
                raise FailedPrecondition("cannot freeze the container: a process of it waits in the kernel and does not stop")
            time.sleep(_PAUSE_SECONDS)
            if self._freeze == "FROZEN":  # version 1 tries again at each write
                self._write(self._freeze)

    def thaw(self) -> None:
        """Lets the group go on; one that is gone already, or is going (ENODEV), is passed over."""
        try:
            self._write(self.thaw_text)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def _read(self, name: str) -> str:
        with open(f"{self._group}/{name}", encoding="utf-8") as file:
            return file.read().strip()

    def _write(self, text: str) -> None:
        write_file(self.control, text)
