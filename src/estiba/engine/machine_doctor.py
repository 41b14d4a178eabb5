"""Which rungs of `run --isolation` work on this machine, each tried by running a container on it."""

from __future__ import annotations

import os
import time

from estiba.config.settings import Settings
from estiba.engine import kernels
from estiba.engine.kernel_auto import PROGRAMS
from estiba.engine.kernel_trial import try_kernel
from estiba.errors import EstibaError
from estiba.linux.probes import Finding
from estiba.oci.digest import hex_of
from estiba.store.layout import Store

_GET_ONE = "estiba kernel import --auto, or: estiba kernel import FILE"


def para(settings: Settings) -> Finding:
    """User-Mode Linux: the kernel that was imported last, else the one that a package installed."""
    try:
        path = _kernel(settings)
    except EstibaError as error:
        return Finding("machine: para", False, error.message, error.hint or "")
    if path is None:
        return Finding("machine: para", False, "there is no User-Mode Linux kernel", _GET_ONE)
    begin = time.monotonic()
    trouble = try_kernel(settings, path)
    if trouble:
        remedy = "another build of User-Mode Linux: " + _GET_ONE
        return Finding("machine: para", False, trouble, remedy)
    return Finding("machine: para", True, f"User-Mode Linux: a container ran ({(time.monotonic() - begin) * 1000:.0f} ms with its store)")


def _kernel(settings: Settings) -> str | None:
    store = Store.open(settings)
    newest = kernels.newest(store, "para")
    if newest is not None:
        return f"{store.layers}/{hex_of(newest.layer)}/fs{newest.path}"
    return next((path for path in PROGRAMS if os.path.isfile(path)), None)
