"""QEMU: a machine whose processor it emulates, and what it is told (qemu-system(1)). On the start path.

`microvm` is its machine of few parts, whose devices are virtio over MMIO: the guest's kernel learns where they are from its command
line, so one that was not built for that does not find its disks. Without ACPI it cannot be switched off, but nobody does that.
"""

from __future__ import annotations

from estiba.machine import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.machine.parts import Parts

#: The program that emulates each machine, by OCI's name of the architecture.
PROGRAMS = {"amd64": "qemu-system-x86_64"}

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_PARKING = {
    "": (),
    "begin": ("-chardev", f"socket,id=control,fd={layout.EXTRA}", "-mon", "chardev=control,mode=control"),
    "wake": ("-incoming", f"fd:{layout.EXTRA}"),
}


class Qemu:
    """QEMU at the path `program` of the jail."""

    #: Of the eight places for devices that microvm has: one is the channel's, one that of binds.
    MAX_DISKS = 6
    ENVIRONMENT: tuple[str, ...] = ()
    PERSONALITY = 0
    MEMORY_FILE = False
    PARKS = True
    #: What is bound is a mount of its own below the folder that is shared. Pages that a program maps are written back.
    BINDS = ("9p", "binds", "trans=virtio,version=9p2000.L,msize=262144,cache=mmap")

    def __init__(self, program: str) -> None:
        self._program = program

    def disk_device(self, number: int) -> str:
        """Returns the guest's name of a disk: vda, vdb, ..."""
        return f"/dev/vd{chr(ord('a') + number)}"

    def arguments(self, parts: Parts) -> list[str]:
        """Returns the command line for a machine with these parts.

        Its console is QEMU's output, for the kernel's last words. Paths are the jail's own, so no value has a comma. A guest that was
        parked has its initramfs behind it; QEMU wants a file nevertheless.
        """
        initramfs = layout.INIT if parts.park == "wake" else layout.INITRAMFS
        return [
            self._program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", _SANDBOX,
            "-machine", "microvm,acpi=off,rtc=on", "-accel", "tcg", "-cpu", "max", "-m", f"size={parts.memory >> 10}k",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-kernel", parts.kernel, "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1 reboot=t",
            "-device", "virtio-serial-device", "-chardev", f"socket,id=channel,fd={layout.CHANNEL}",
            "-device", "virtserialport,chardev=channel,name=estiba",
            *_disks(parts), *_binds(parts), *_PARKING[parts.park],
        ]  # fmt: skip


def _disks(parts: Parts) -> Iterator[str]:
    """A disk that nobody writes is shared by all guests, so it is not locked. Of a container that goes with its run nothing is flushed."""
    for number, (path, writable) in enumerate(parts.disks):
        access = f"cache.no-flush={'on' if parts.volatile else 'off'}" if writable else "read-only=on"
        yield from ("-blockdev", f"driver=raw,node-name=disk{number},{access},file.driver=file,file.locking=off,file.filename={path}")
        yield from ("-device", f"virtio-blk-device,drive=disk{number}")


def _binds(parts: Parts) -> list[str]:
    if not parts.binds:
        return []
    return [
        "-fsdev", f"local,id=binds,path={layout.BINDS},security_model=passthrough,multidevs=remap",
        "-device", "virtio-9p-device,fsdev=binds,mount_tag=binds",
    ]  # fmt: skip
