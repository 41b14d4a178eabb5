"""Whether a kernel works on this machine, found out by running the embedded image on it, in a store of its own beside the real one.

No version tells it: Debian's User-Mode Linux 6.1 panics on processors whose registers do not fit into what it was built for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from estiba.config.settings import Settings, load
from estiba.engine import hello, reclaim
from estiba.engine.create import create
from estiba.engine.kernel_import import add_kernel, read_kernel
from estiba.engine.kernel_layer import read_file
from estiba.engine.kernels import Kernel
from estiba.engine.launching import prepare
from estiba.engine.resolve import resolve
from estiba.errors import EstibaError
from estiba.machine import kernel_file
from estiba.machine.kernel_file import KernelFile
from estiba.runtime import parse_options
from estiba.runtime.options import RunOptions
from estiba.store import layers
from estiba.store.layout import Store

_MEMORY = 128 << 20


def try_kernel(settings: Settings, path: str, rung: str = "para") -> str:
    """Runs a container on the kernel at `path` as `--isolation` `rung`; returns why it did not work, or an empty text."""
    try:
        return _try(Store.open(settings), settings, read_kernel(path), rung)
    except EstibaError as error:
        return error.message


def try_stored(store: Store, settings: Settings, kernel: Kernel, rung: str) -> str:
    """The same for a kernel of the store, with its modules."""

    def modules(paths: Sequence[str]) -> list[tuple[str, bytes]]:
        return [(os.path.basename(path).removesuffix(".ko"), read_file(store, kernel, path)) for path in paths]

    try:
        file = kernel_file.inspect(read_file(store, kernel, kernel.path), "the kernel")
        file.modules, file.drivers = modules(kernel.modules), modules(kernel.drivers)
        return _try(store, settings, file, rung)
    except EstibaError as error:
        return error.message


def _try(store: Store, settings: Settings, kernel: KernelFile, rung: str) -> str:
    name = f"kernel-{os.getpid()}"
    trial = load(root=f"{store.cache}/{name}")
    try:
        return _run(trial, kernel, rung)
    finally:
        if os.path.exists(trial.root):
            os.rename(trial.root, f"{store.trash}/{name}")
            layers.empty_trash(store, settings)


def _run(settings: Settings, kernel: KernelFile, rung: str) -> str:
    store = Store.open(settings)
    hello.ensure(store, settings)
    options = RunOptions(hello.NAME)
    options.rm, options.memory, options.snapshot = True, _MEMORY, False
    options.kernel = add_kernel(store, settings, kernel, "kernel", None).id
    parse_options.isolation(options, rung)
    with store.using():
        created = create(store, settings, options, resolve(store, settings, options))
    output = os.memfd_create("estiba-trial", os.MFD_CLOEXEC)
    with os.fdopen(output, "rb") as said, open(os.devnull, "r+b") as null:
        code = prepare(store, settings, options, created).spawn(null.fileno(), null.fileno(), output).wait()
        reclaim.finish(settings, created.record)
        said.seek(0)
        words = said.read().decode("utf-8", "replace").splitlines()
    if code == 0:
        return ""
    return words[0].partition("container: ")[2] or words[0] if words else f"a container ended with {code}"
