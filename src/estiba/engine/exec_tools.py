"""`exec --with`: a tools image laid over a container's files, for one program alone (decision 024)."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any

from estiba.config.settings import Settings
from estiba.engine import launching, records
from estiba.engine.binder import FILES
from estiba.engine.entering import Draft
from estiba.engine.missing_image import ProgressMaker
from estiba.engine.records import Record
from estiba.engine.resolve import Stack, resolve
from estiba.linux import idmap
from estiba.oci.digest import DiffID, hex_of
from estiba.plan import ops
from estiba.runtime.options import RunOptions
from estiba.store.layout import Store

if TYPE_CHECKING:
    from estiba.plan.ops import Op

_NO_UPPER = 0xFFFFFFFF
_CONTAINER = "/"  # among the lowers: the container's own root (helper/ops.toml)


class Tools:
    """The images of --with as one stack. Raises what `resolve` raises."""

    def __init__(self, store: Store, settings: Settings, options: RunOptions, progress: ProgressMaker | None) -> None:
        self._store = store
        self._settings = settings
        asked = RunOptions(options.with_images[0], ())
        asked.with_images = list(options.with_images[1:])
        self._stack: Stack = resolve(store, settings, asked, progress)
        self._layers = launching.unique(self._stack.layers)

    def environment(self, own: list[str]) -> list[str]:
        """The container's environment, PATH with the tools' folders first."""
        paths = [entry.removeprefix("PATH=") for entry in (*self._stack.config.env, *own) if entry.startswith("PATH=")]
        merged = ":".join(dict.fromkeys(folder for path in paths for folder in path.split(":")))
        return [f"PATH={merged}" if entry.startswith("PATH=") else entry for entry in own]

    def root(self, draft: Draft, record: Record, spec: dict[str, Any]) -> tuple[list[Op], list[Op]]:
        """The operations for the host and for the container that make the program's own root. The layers are held until it ends.

        Raises DataLoss for a layer that is missing, FailedPrecondition for one whose owners the container does not have.
        """
        maps = self._maps(record)
        lowers = launching.lowers_of(self._store, self._layers, self._stack.reference, spec, maps)
        layers = draft.slot(os.open(self._store.layers, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), self._store.layers)
        for diff_id in self._layers:
            draft.slot(self._hold(diff_id))
        idmapped = "uidMappings" in spec["linux"] and maps.kind == "root-range"
        mounts = [ops.container_mount(target) for target in _targets(spec)]
        return (
            [ops.idmap(layers, 0)] if idmapped else [],
            [ops.overlay(layers, [*lowers, _CONTAINER], _NO_UPPER, 0, 0), *mounts, ops.pivot()],
        )

    def _maps(self, record: Record) -> idmap.IdMaps:
        if record.slot is None:
            return idmap.layer_maps(self._settings)
        return idmap.range_maps(records.ranges(self._settings).base(record.slot))

    def _hold(self, diff_id: DiffID) -> int:
        """A descriptor that keeps garbage collection from a layer (store/gc.py)."""
        descriptor = os.open(f"{self._store.layers}/{hex_of(diff_id)}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor


def _targets(spec: dict[str, Any]) -> list[str]:
    """Where the container has something mounted; what is mounted below comes along."""
    every = sorted({mount["destination"] for mount in spec["mounts"]} | {f"/etc/{name}" for name in FILES})
    return [target for target in every if not any(target.startswith(other.rstrip("/") + "/") for other in every if other != target)]
