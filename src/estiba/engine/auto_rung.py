"""`run --isolation auto`: the strongest rung that works here and can give what was asked for. On the start path of such a run.

In this order: a machine whose processor is the host's by KVM, which hardware keeps apart; one that QEMU emulates; User-Mode Linux; the
host's kernel. That one works is shown by a container that ran on it, once for each kernel and monitor: ``cache/proven/`` remembers.
"""

from __future__ import annotations

import os

from estiba.engine import kernel_choice, kernels, kvm
from estiba.engine.kernels import UML
from estiba.errors import InvalidArgument, NotImplemented
from estiba.oci.digest import hex_of
from estiba.oci.platform import host_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.engine.kernels import Kernel
    from estiba.runtime.options import Isolation, RunOptions
    from estiba.store.layout import Store


def choose(store: Store, settings: Settings, options: RunOptions, architecture: str) -> tuple[Isolation, str]:
    """Returns the rung for an image of `architecture`, and why none above it; an empty text where there is none.

    Raises InvalidArgument, and what `kernel_choice.choose` raises for a kernel that was named.
    """
    if options.emulate:
        raise InvalidArgument("cannot use --emulate: only --isolation partial has parts to choose from")
    refused = "its programs are of another processor" if architecture != host_platform().architecture else _refused(options)
    if refused:
        return "container", refused
    works, seen = kvm.usable(settings)
    reasons = [] if works else [f"KVM runs no guests here: {seen}"]
    order: tuple[Isolation, ...] = ("para", "partial") if works else ("partial", "para")
    for rung in order:
        kernel = _kernel(store, settings, options, rung)
        trouble = f"no kernel for {rung}" if kernel is None else _lack(options, kernel) or _trouble(store, settings, kernel, rung)
        if not trouble:
            return rung, "; ".join(reasons)
        reasons.append(trouble)
    return "container", "; ".join(reasons)


def _refused(options: RunOptions) -> str:
    """Why no machine can give what was asked for."""
    from estiba.engine.machines import refuse

    try:
        refuse(options)
    except (InvalidArgument, NotImplemented) as error:
        return error.message
    return ""


def _lack(options: RunOptions, kernel: Kernel) -> str:
    """What a machine on this kernel has not."""
    from estiba.engine.machines import ONE_PROCESSOR

    return ONE_PROCESSOR if kernel.kind == UML and (options.nano_cpus or 0) > 10**9 else ""


def _kernel(store: Store, settings: Settings, options: RunOptions, rung: Isolation) -> Kernel | None:
    if options.kernel is None:
        return kernel_choice.taken(store, settings, rung)
    kernel = kernel_choice.choose(store, settings, options.kernel, rung, others=(UML, *kernels.RUNGS["partial"]))
    return kernel if kernel.kind in kernels.RUNGS[rung] else None


def _trouble(store: Store, settings: Settings, kernel: Kernel, rung: Isolation) -> str:
    """Why the kernel does not run here as `rung`; empty when it does."""
    note = f"{store.cache}/proven/{rung}-{hex_of(kernel.layer)[:32]}"
    if os.path.exists(note):
        return ""
    from estiba.engine.kernel_trial import try_stored

    trouble = try_stored(store, settings, kernel, rung)
    if not trouble:
        os.makedirs(os.path.dirname(note), exist_ok=True)
        os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return trouble
