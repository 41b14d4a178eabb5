"""Whether a guest may have the processor itself, by KVM: tried once for each boot of this machine. On the start path of `run` on QEMU."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings

DEVICE = "/dev/kvm"


def usable(settings: Settings) -> tuple[bool, str]:
    """Returns whether it works, and what was seen. The answer of a trial is kept in the runtime folder, which does not outlive a boot."""
    if not os.path.exists(DEVICE):
        return False, f"there is no {DEVICE}"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return False, f"{DEVICE} is not this user's"
    note = f"{settings.runtime_dir}/kvm"
    try:
        with open(note, encoding="utf-8") as file:
            word, _, reason = file.read().partition(" ")
    except FileNotFoundError:
        return _try(settings, note)
    return word == "yes", reason


def _try(settings: Settings, note: str) -> tuple[bool, str]:
    from estiba.linux.kvm import probe

    works, reason = probe()
    os.makedirs(settings.runtime_dir, mode=0o700, exist_ok=True)
    with open(note, "w", encoding="utf-8") as file:
        file.write(f"{'yes' if works else 'no'} {reason}")
    return works, reason
