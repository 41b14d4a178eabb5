"""QEMU: a machine some of whose parts it emulates, and what it is told (qemu-system(1)). On the start path.

It has two machines. `microvm` has few parts, whose devices are virtio over MMIO: the guest's kernel learns where they are from its command
line, so one that was not built for that does not find them; nor does it find a second processor. Without ACPI it cannot be switched off,
but nobody does that. `q35` is a PC.
For aarch64 it is `virt`, which has one serial line and no firmware that a kernel needs.
"""

from __future__ import annotations

from estiba.machine import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiba.machine.parts import Parts

#: The program that emulates each machine, by OCI's name of the architecture.
PROGRAMS = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
#: The same names, as of uname(2).
CPUS = {"amd64": "x86_64", "arm64": "aarch64"}
#: What can be emulated: the processor, an AHCI controller, an e1000, serial lines, and a BIOS that loads the kernel from a disk.
EMULATED = ("cpu", "disk", "net", "console", "firmware")
#: Parts that microvm does not have.
_OF_A_PC = frozenset(("disk", "net", "firmware"))

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_PARKING = {
    "": (),
    "begin": ("-chardev", f"socket,id=control,fd={layout.EXTRA}", "-mon", "chardev=control,mode=control"),
    "wake": ("-incoming", f"fd:{layout.EXTRA}"),
}
_AHCI_PORTS = 6
_LINE, _CONSOLE = "chardev:channel", "chardev:console"
#: Where a kernel finds its console, when the channel is a serial line of the same kind, and when not.
_OPTIONS = {True: "console=ttyS1 8250.nr_uarts=2", False: "console=ttyS0"}


class Qemu:
    """QEMU at the path `program` of the jail, for a machine whose parts in `emulated` it emulates; the others are virtio's, and the
    processor KVM's. `pc` takes the larger machine for a kernel that needs it, as do several `processors`.
    """

    ENVIRONMENT: tuple[str, ...] = (f"TMPDIR={layout.STATE}",)
    PERSONALITY = 0
    ONE_PROCESSOR = False
    PATIENCE_SECONDS = 60
    MEMORY_FILE = False
    #: What is bound is a mount of its own below the folder that is shared. Pages that a program maps are written back.
    BINDS = ("9p", "binds", "trans=virtio,version=9p2000.L,msize=262144,cache=mmap")

    def __init__(self, program: str, emulated: frozenset[str], *, pc: bool = False, cpu: str = "x86_64", processors: int = 1) -> None:
        self._program = program
        self._is_arm = cpu == "aarch64"
        self._emulated = emulated
        self._processors = processors
        self._pc = pc or self._is_arm or processors > 1 or bool(emulated & _OF_A_PC)
        self._bus = "pci" if self._pc else "device"
        #: Of microvm's eight places for devices one is the channel's, one that of binds; the last port of AHCI is the boot disk's.
        self.MAX_DISKS = _AHCI_PORTS - 1 if "disk" in emulated else 16 if self._pc else 6
        #: A firmware is for who wants to see a machine boot. What is sent to a serial line before its guest is there again is lost.
        self.PARKS = not emulated & {"firmware", "console"}

    def disk_device(self, number: int) -> str:
        """Returns where the guest finds a disk: the kernel finds those of a PC in any order."""
        return f"SERIAL={_serial(number)}" if self._pc else f"/dev/vd{chr(ord('a') + number)}"

    def arguments(self, parts: Parts) -> list[str]:
        """Returns the command line for a machine with these parts.

        Its console is QEMU's output, for the kernel's last words. Paths are the jail's own, so no value has a comma. A guest that was
        parked has its initramfs behind it; QEMU wants a file nevertheless.
        """
        machine = "virt" if self._is_arm else "q35,smm=off,vmport=off" if self._pc else "microvm,acpi=off,rtc=on"
        # The signatures of pointers cost the emulator more than all else.
        emulated = ("-accel", "tcg", "-cpu", "max,pauth=off" if self._is_arm else "max")
        processor = emulated if "cpu" in self._emulated else ("-accel", "kvm", "-cpu", "host")
        return [
            self._program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", _SANDBOX,
            "-machine", machine, *processor, "-smp", str(self._processors), "-m", f"size={parts.memory >> 10}k",
            *self._channel(), *self._kernel(parts),
            *self._disks(parts), *self._net(), *self._binds(parts), *_PARKING[parts.park],
        ]  # fmt: skip

    def _channel(self) -> list[str]:
        lines = ["-chardev", "stdio,id=console,signal=off", "-chardev", f"socket,id=channel,fd={layout.CHANNEL}"]
        if "console" in self._emulated:
            return [*lines, "-serial", _LINE, "-serial", _CONSOLE]
        return [
            *lines, "-serial", _CONSOLE,
            "-device", f"virtio-serial-{self._bus}", "-device", "virtserialport,chardev=channel,name=estiba",
        ]  # fmt: skip

    def options(self) -> str:
        """Returns the command line of the guest's kernel."""
        console = "console=ttyAMA0" if self._is_arm else _OPTIONS["console" in self._emulated]
        return f"{console} quiet panic=-1 reboot=t"

    def _kernel(self, parts: Parts) -> list[str]:
        if parts.boot:
            return [*self._shared("boot", parts.boot), "-device", f"{self._disk(_AHCI_PORTS - 1)},drive=boot,bootindex=0"]
        initramfs = layout.INIT if parts.park == "wake" else layout.INITRAMFS
        return ["-kernel", parts.kernel, "-initrd", initramfs, "-append", self.options()]

    def _disk(self, port: int) -> str:
        return f"ide-hd,bus=ide.{port}" if "disk" in self._emulated else f"virtio-blk-{self._bus}"

    def _disks(self, parts: Parts) -> Iterator[str]:
        """Disks that nobody writes are shared by all guests, so none is locked. What goes with its run need not be flushed."""
        for number, (path, writable) in enumerate(parts.disks):
            name, flush = f"disk{number}", f"cache.no-flush={'on' if parts.volatile else 'off'}"
            yield from ("-blockdev", _file(name, path, flush)) if writable else self._shared(name, path)
            yield from ("-device", f"{self._disk(number)},drive={name},serial={_serial(number)}")

    def _shared(self, name: str, path: str) -> tuple[str, str]:
        """AHCI has no disks that are read-only: what a guest would write goes to a file of its own, which nobody looks at."""
        if "disk" in self._emulated:
            return "-drive", f"if=none,id={name},format=raw,snapshot=on,file.locking=off,file={path}"
        return "-blockdev", _file(name, path, "read-only=on")

    def _net(self) -> list[str]:
        """A card that is in no network; nor has it a program to boot from one."""
        return ["-netdev", "hubport,id=net,hubid=0", "-device", "e1000,netdev=net,romfile="] if "net" in self._emulated else []

    def _binds(self, parts: Parts) -> list[str]:
        if not parts.binds:
            return []
        return [
            "-fsdev", f"local,id=binds,path={layout.BINDS},security_model=passthrough,multidevs=remap",
            "-device", f"virtio-9p-{self._bus},fsdev=binds,mount_tag=binds",
        ]  # fmt: skip


def _serial(number: int) -> str:
    return f"estiba{number}"


def _file(name: str, path: str, access: str) -> str:
    return f"driver=raw,node-name={name},{access},file.driver=file,file.locking=off,file.filename={path}"
