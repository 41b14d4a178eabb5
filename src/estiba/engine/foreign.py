"""Images of another machine: which of them run here, and by what. Loaded by a start only when the image is of another architecture.

A program of qemu-user(1) interprets them, registered in a binfmt_misc(5) of the container's own user namespace (Linux 6.7): no
privilege is needed and the host's table stays as it is. Where that cannot be, an entry of the host's table serves.
"""

from __future__ import annotations

import os

from estiba.errors import EstibaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.oci.platform import Platform
    from estiba.runtime.options import RunOptions

FOLDERS = ("/usr/bin", "/usr/local/bin", "/bin")
HOST_TABLE = "/proc/sys/fs/binfmt_misc"
_FIRST_KERNEL = (6, 7)

#: Architecture of OCI to qemu-user's name, e_machine (elf.h), bits, and whether it is little endian.
_MACHINES = {
    "arm64": ("aarch64", 183, 64, True),
    "amd64": ("x86_64", 62, 64, True),
    "386": ("i386", 3, 32, True),
    "arm": ("arm", 40, 32, True),
    "loong64": ("loongarch64", 258, 64, True),
    "mips64le": ("mips64el", 8, 64, True),
    "ppc64le": ("ppc64le", 21, 64, True),
    "riscv64": ("riscv64", 243, 64, True),
    "s390x": ("s390x", 22, 64, False),
}
ARCHITECTURES = tuple(_MACHINES)
#: What a processor runs beside its own architecture.
_ALSO_RUNS = {"amd64": ("386",)}


class Interpreter:
    """What runs the programs of an image: the `program` (an absolute path), and the `rule` that names it by its last component."""

    __slots__ = ("program", "rule")

    def __init__(self, program: str, rule: str) -> None:
        self.program = program
        self.rule = rule


def is_native(image: str, host: str) -> bool:
    """Whether programs of the architecture `image` run on a processor of the architecture `host`."""
    return image == host or image in _ALSO_RUNS.get(host, ())


def rule(architecture: str, program: str) -> str:
    """The line for `register` (Documentation/admin-guide/binfmt-misc.rst in the kernel's source).

    The magic is the ELF header's: class, byte order, a program or shared object, e_machine; what says which system made the file
    is left out. Flags: O and P give the interpreter the opened program and argv[0] as they are, F opens the interpreter at once.
    Never C: a set-user-id file of the image would be the interpreter's.
    """
    name, machine, bits, little = _MACHINES[architecture]
    step = 1 if little else -1
    magic = b"\x7fELF" + bytes([bits // 32, 1 if little else 2, 1]) + bytes(9)
    magic += (2).to_bytes(2, "little")[::step] + machine.to_bytes(2, "little")[::step]
    mask = b"\xff" * 7 + bytes(9) + (0xFFFE).to_bytes(2, "little")[::step] + b"\xff\xff"
    return f":qemu-{name}:M::{_escaped(magic)}:{_escaped(mask)}:{program}:OPF"


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def find(architecture: str, options: RunOptions) -> Interpreter | None:
    """Returns the interpreter for a container, None where none can be registered for it: then the host's table has one, or the
    programs do not run (`reason` says why).
    """
    if architecture not in _MACHINES or options.userns == "host" or _kernel() < _FIRST_KERNEL:
        return None
    program = _program(_MACHINES[architecture][0])
    return Interpreter(program, rule(architecture, os.path.basename(program))) if program else None


def reason(image: Platform, host: Platform, options: RunOptions) -> str | None:
    """Returns why programs of the image cannot run on this machine, and what would change it; None when they can.

    It is for a warning and not for an error: an image may be labelled wrongly, and its first program says whether it was.
    """
    architecture = image.architecture
    if image.os != host.os or architecture not in _MACHINES:
        return "nothing emulates that platform"
    if options.isolation != "container":
        return f"its kernel is {host.text} too"
    if is_native(architecture, host.architecture) or find(architecture, options) is not None:
        return None
    name = _MACHINES[architecture][0]
    if _host_has(name):
        return None
    if options.userns == "host":
        return f"with --userns host the host's own binfmt_misc(5) would have to know qemu-{name}"
    if _kernel() < _FIRST_KERNEL:
        return f"that needs Linux 6.7 (this is {os.uname().release}), or qemu-{name} in the host's own binfmt_misc(5)"
    return f"there is no qemu-{name}-static (as root: apt-get install qemu-user-static)"


def _kernel() -> tuple[int, int]:
    words = os.uname().release.replace("-", ".").split(".")
    return int(words[0]), int(words[1])


def _program(name: str) -> str:
    """The path of a static qemu-user for a machine, links followed, or an empty string: a dynamic one would look for its libraries in
    the image.
    """
    for folder in FOLDERS:
        for path in (f"{folder}/qemu-{name}-static", f"{folder}/qemu-{name}"):
            if os.access(path, os.X_OK) and (path.endswith("-static") or _is_static(path)):
                return os.path.realpath(path)
    return ""


def _is_static(path: str) -> bool:
    from estiba.engine.elf import parse_elf

    with open(path, "rb") as file:
        data = file.read()
    try:
        return parse_elf(data, path).interpreter is None
    except EstibaError:
        return False


def _host_has(name: str) -> bool:
    """Whether the host's table has an enabled entry whose interpreter is open already: its path would not be in the container."""
    try:
        with open(f"{HOST_TABLE}/qemu-{name}", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return lines[:1] == ["enabled"] and "F" in flags
