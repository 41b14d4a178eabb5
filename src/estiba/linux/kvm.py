"""Whether /dev/kvm is of use, found out by running a guest for a moment.

That the device opens, and that a guest can halt, says nothing: some hosts offer a KVM that interprets the guest's kernel mode
instruction by instruction, a thousand times slower, and knows few of them. So the probe runs, in long mode at ring 0, an SSE
instruction and a loop of 100,000 turns, and asks for the two exits behind them within 50 ms (Documentation/virt/kvm/api.rst).

The guest runs in a process of its own, which an alarm ends: `python -I -S kvm.py`. It needs no other module of the package.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys

DEVICE = "/dev/kvm"
LIMIT_SECONDS = 0.05

_GET_API_VERSION, _CREATE_VM, _GET_VCPU_MMAP_SIZE = 0xAE00, 0xAE01, 0xAE04
_CREATE_VCPU, _SET_USER_MEMORY_REGION, _RUN = 0xAE41, 0x4020AE46, 0xAE80
_SET_REGS, _GET_SREGS, _SET_SREGS = 0x4090AE82, 0x8138AE83, 0x4138AE84
_API_VERSION = 12
_EXIT_IO, _EXIT_HLT = 2, 5
_EXIT_REASON = 8  # offset in struct kvm_run

_MEMORY = 2 << 20
_PML4, _PDPT, _PD, _CODE = 0x1000, 0x2000, 0x3000, 0x10000
# xorps %xmm0,%xmm0; mov $100000,%ecx; 1: dec %ecx; jnz 1b; out %al,$0xe9; hlt
_PROGRAM = bytes.fromhex("0f57c0b9a0860100ffc975fce6e9f4")
_CR0 = 0x80050033  # PG AM WP NE ET MP PE
_CR4 = 0x620  # OSXMMEXCPT OSFXSR PAE
_EFER = 0x500  # LMA LME


def probe() -> tuple[bool, str]:
    """Returns whether KVM can be used, and what was seen; what cannot be tried does not count as usable."""
    if os.uname().machine != "x86_64":
        return False, "not tried: the probe is for x86_64"
    if not os.path.exists(DEVICE):
        return False, f"there is no {DEVICE}"
    command = [sys.executable, "-I", "-S", __file__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return False, "a guest does not end"
    if done.returncode < 0:
        return False, f"a loop in the guest's kernel mode did not end within {LIMIT_SECONDS * 1000:.0f} ms: it is interpreted"
    return done.returncode == 0, done.stdout.strip() or "the probe failed"


def _segment(selector: int, kind: int, *, long_mode: int) -> bytes:
    """Packs struct kvm_segment: base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding."""
    return struct.pack("<QIH10B", 0, 0xFFFFFFFF, selector, kind, 1, 0, 1 - long_mode, 1, long_mode, 1, 0, 0, 0)


def _special_registers(present: bytes) -> bytes:
    """Packs struct kvm_sregs: eight segments, two descriptor tables, control registers."""
    code, data = _segment(8, 11, long_mode=1), _segment(16, 3, long_mode=0)
    control = struct.pack("<7Q", _CR0, 0, _PML4, _CR4, 0, _EFER, struct.unpack_from("<Q", present, 272)[0])
    return code + data * 5 + present[144:224] + control + present[280:]


def _run_guest() -> str:
    """Runs the program; returns an empty text when it did what it should, else what happened."""
    import ctypes
    import fcntl
    import mmap
    import signal

    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    version = fcntl.ioctl(device, _GET_API_VERSION, 0)
    if version != _API_VERSION:
        return f"KVM's version is {version}, not {_API_VERSION}"
    machine = fcntl.ioctl(device, _CREATE_VM, 0)
    memory = mmap.mmap(-1, _MEMORY)
    for table, entry in ((_PML4, _PDPT | 3), (_PDPT, _PD | 3), (_PD, 0x83)):  # present, writable; the last one a 2 MiB page
        struct.pack_into("<Q", memory, table, entry)
    memory[_CODE : _CODE + len(_PROGRAM)] = _PROGRAM
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 0, 0, 0, _MEMORY, address))
    processor = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    shared = mmap.mmap(processor, fcntl.ioctl(device, _GET_VCPU_MMAP_SIZE, 0))
    special = bytearray(312)
    fcntl.ioctl(processor, _GET_SREGS, special)
    fcntl.ioctl(processor, _SET_SREGS, _special_registers(bytes(special)))
    fcntl.ioctl(processor, _SET_REGS, struct.pack("<18Q", *([0] * 16), _CODE, 2))
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    for expected in (_EXIT_IO, _EXIT_HLT):
        fcntl.ioctl(processor, _RUN, 0)
        reason = struct.unpack_from("<I", shared, _EXIT_REASON)[0]
        if reason != expected:
            return f"the guest's kernel mode fails (exit reason {reason})"
    return ""


def main() -> int:
    """Runs the probe in this process and prints what it saw."""
    try:
        trouble = _run_guest()
    except OSError as error:
        trouble = f"{DEVICE}: {(error.strerror or 'it fails').lower()}"
    sys.stdout.write(f"{trouble or 'a guest ran'}\n")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
