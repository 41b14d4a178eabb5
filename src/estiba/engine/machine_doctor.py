"""Which rungs of `run --isolation` work on this machine, each tried by running a container on it."""

from __future__ import annotations

import os
import time

from estiba.config.settings import Settings
from estiba.engine import auto_rung, kernel_choice, kernels
from estiba.engine.kernel_auto import PROGRAMS
from estiba.engine.kernel_trial import try_kernel, try_stored
from estiba.errors import EstibaError
from estiba.linux.probes import Finding
from estiba.oci.platform import host_platform
from estiba.runtime.options import RunOptions
from estiba.store.layout import Store

_MONITORS = {"para": "User-Mode Linux", "partial": "QEMU", "full": "QEMU"}


def machine(settings: Settings, rung: str) -> Finding:
    """Tries the kernel that was imported last for `rung`, else the one that a package installed."""
    name, monitor, remedy = f"machine: {rung}", _MONITORS[rung], kernels.REMEDIES[rung]
    store = Store.open(settings)
    try:
        kernel = kernel_choice.taken(store, settings, rung)
    except EstibaError as error:
        return Finding(name, False, error.message, error.hint or "")
    path = _installed(rung)
    if kernel is None and path is None:
        return Finding(name, False, f"there is no kernel for {monitor}", remedy)
    begin = time.monotonic()
    trouble = try_stored(store, settings, kernel, rung) if kernel else try_kernel(settings, path or "", rung)
    if trouble:
        return Finding(name, False, trouble, f"another kernel for {monitor}: {remedy}")
    what = kernel_choice.why_para(settings, kernel.kind if kernel else kernels.UML, named=False) if rung == "para" else monitor
    return Finding(name, True, f"a container ran ({(time.monotonic() - begin) * 1000:.0f} ms with its store) on {what}")


def auto(settings: Settings) -> Finding:
    """Which rung `--isolation auto` takes, and why none above it."""
    try:
        rung, reason = auto_rung.choose(Store.open(settings), settings, RunOptions(), host_platform().architecture)
    except EstibaError as error:
        return Finding("machine: auto", False, error.message, error.hint or "")
    return Finding("machine: auto", True, f"takes {rung}" + (f" ({reason})" if reason else ""))


def _installed(rung: str) -> str | None:
    return next((path for path in PROGRAMS if os.path.isfile(path)), None) if rung == "para" else None
