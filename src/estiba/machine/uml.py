"""User-Mode Linux: a kernel that is a program of the host, and what it is told (Documentation/virt/uml). On the start path."""

from __future__ import annotations

from estiba.machine import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.machine.parts import Parts

#: Devices that its block driver has (arch/um/drivers/ubd_kern.c, MAX_DEV), but for the last, which is the channel's.
MAX_DISKS = 15
# Half a second of measuring which RAID6 code is fastest, in kernels that have it (the name changed in 7.x).
_SKIPPED = "initcall_blacklist=raid6_init,raid6_select_algo"


#: It takes the highest string of its environment for the end of its address space and puts what runs its guests below: without one into its
#: own stack, where they crash or hang (arch/um/kernel/um_arch.c, get_top_address).
ENVIRONMENT: tuple[str, ...] = (f"TMPDIR={layout.MEMORY}",)
#: It keeps what lies behind its heap for itself: at a random place that is up to 32 MB of the guest's memory (personality(2)).
PERSONALITY = 0x0040000  # ADDR_NO_RANDOMIZE
#: Its kernel and the guest's programs are processes that take turns (decision 032).
ONE_PROCESSOR = True
#: How long a guest may take to answer, and then to start its program.
PATIENCE_SECONDS = 20
#: Its guests cannot be parked.
PARKS = False
#: Its guest's memory is a file.
MEMORY_FILE = True
#: Type, source and options of the file system by which the guest sees its binds.
BINDS: tuple[str, str, str] = ("hostfs", "none", "")


def disk_device(number: int) -> str:
    """Returns the guest's name of a disk: ubda, ubdb, ..."""
    return f"/dev/ubd{chr(ord('a') + number)}"


def arguments(parts: Parts) -> list[str]:
    """Returns the command line of the kernel with these parts.

    `lpj` and `seccomp=on` save 50 ms and half the cost of a system call. Serial line 0 is the channel. No console reads: at the end of its
    input it would hang up and take the output along. A disk that nobody writes is shared (`c`): it is not locked. The last disk brings what
    is too much for the channel's serial line, which is read byte by byte.
    """
    words = [
        parts.kernel, f"mem={parts.memory // 1024}K", "seccomp=on", "lpj=10000000", "quiet", "panic=-1", _SKIPPED,
        "con0=null,fd:1", "con=null", "ssl=null", f"ssl0=fd:{layout.CHANNEL},fd:{layout.CHANNEL + 1}",
        f"uml_dir={layout.STATE}/", "umid=machine", f"initrd={layout.INITRAMFS}", f"hostfs={layout.BINDS}",
        f"ubd{MAX_DISKS}rc={layout.BLOCKS}",
    ]  # fmt: skip
    return words + [f"ubd{number}{'' if writable else 'rc'}={path}" for number, (path, writable) in enumerate(parts.disks)]
