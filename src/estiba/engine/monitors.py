"""The programs that run guests and are no kernels themselves: each is an image made of this machine's files, so that a jail can hold it.

``cache/monitors/<program>`` remembers which parts were looked for and of which files it was made: after an upgrade of one of them, or of
estiba to one that needs other parts, it is made anew. On the start path of `run` on QEMU, but for what makes one.
"""

from __future__ import annotations

import os

from estiba.oci.digest import DiffID
from estiba.store.layer_ids import highest_id
from estiba.store.publish import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store


#: Parts that a build may have as modules, and firmware. What is not there is not needed.
MODULES = ("accel-tcg-{machine}.so",)
FIRMWARE = ("bios-microvm.bin", "bios-256k.bin", "pvh.bin", "linuxboot_dma.bin", "kvmvapic.bin")
#: The first line of the note.
PARTS = " ".join((*MODULES, *FIRMWARE))


class Program:
    """A program in the store: its `layer`, and its `path` there."""

    __slots__ = ("layer", "path")

    def __init__(self, layer: DiffID, path: str) -> None:
        self.layer = layer
        self.path = path


def find(store: Store, settings: Settings, name: str) -> Program:
    """Finds the program `name` as this machine has it now. Raises FailedPrecondition when it has none, and as `make_monitor.make`."""
    note = f"{store.cache}/monitors/{name}"
    found = _noted(store, note)
    if found is not None:
        return found
    from estiba.engine.make_monitor import make

    layer, path, states = make(store, settings, name, modules=MODULES, firmware=FIRMWARE, state=_state)
    lines = [PARTS, layer, path, *states]
    os.makedirs(os.path.dirname(note), exist_ok=True)
    write_file(store, note, "\n".join(lines).encode("utf-8", "surrogateescape"), durable=False)
    return Program(layer, path)


def _noted(store: Store, note: str) -> Program | None:
    try:
        with open(note, encoding="utf-8", errors="surrogateescape") as file:
            parts, layer, path, *files = file.read().splitlines()
    except FileNotFoundError:
        return None
    if parts != PARTS or any(line != _state(line.split(" ", 1)[1]) for line in files) or highest_id(store, DiffID(layer)) is None:
        return None
    return Program(DiffID(layer), path)


def _state(path: str) -> str:
    """What tells a file from the one that was there before: a line of the note."""
    try:
        status = os.stat(path)
    except OSError:
        return f"- {path}"
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns} {path}"
