"""``estiba image to-disk``: a disk that boots on its own and runs an image."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag
from estiba.cli.run import COMMAND as RUN
from estiba.cli.run import options_from
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context

# Flags of `run` that mean something on a machine without a host.
_OF_RUN = {
    "Container": ("init", "stop-signal", "tty"),
    "Image": ("platform", "pull", "with"),
    "Process": ("entrypoint", "env", "env-file", "group-add", "ulimit", "user", "workdir"),
    "Files": ("read-only", "shm-size", "tmpfs"),
    "Isolation": ("cap-add", "cap-drop", "privileged", "security-opt", "sysctl", "userns"),
    "Network": ("add-host", "dns", "hostname", "network"),
}


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.to_disk import DEFAULT_SIZE, to_disk
    from estiba.runtime.parse_values import size

    path, room = found.string("output"), found.string("size")
    if not path:
        raise InvalidArgument("cannot make a disk: no --output", hint="estiba image to-disk -o disk.qcow2 IMAGE [COMMAND...]")
    options = options_from(found)
    kernel, options.kernel = options.kernel, None  # of the disk, not of a container here
    to_disk(
        context.store,
        context.settings,
        options,
        path,
        kernel=kernel,
        form=found.string("format"),
        size=size("size", room, minimum=1) if room else DEFAULT_SIZE,
        append=found.string("append"),
    )
    output.talk(f"wrote {path}")
    return 0


COMMAND = Command(
    "image to-disk",
    "Make a disk that boots on its own and runs an image",
    _run,
    usage="-o FILE IMAGE [COMMAND] [ARG...]",
    sections={
        "Disk": [
            Flag("append", "Further words for the kernel's command line", value="words"),
            Flag("format", "raw or qcow2; by the file's name without it", choices=("raw", "qcow2"), value="format"),
            Flag("kernel", "Kernel: an image, or a file", value="kernel", complete="image"),
            Flag("output", "The file to write", short="o", value="file", complete="file"),
            Flag("size", "Room for what the program writes, 4g without it", value="bytes"),
        ],
        **{
            heading: [flag for flag in RUN.sections[heading] if flag.name in names] for heading, names in _OF_RUN.items()
        },
    },
    about="""The disk boots on machines with BIOS and with UEFI. Its partitions are the kernel and the boot loaders, the layers, and
    room for what the program writes. The program's streams are the console, the power button is its stop signal, and the machine is
    switched off when it ends.""",
    examples=[
        ("estiba image to-disk -o disk.qcow2 web", "then: qemu-system-x86_64 -nographic disk.qcow2"),
        ("estiba image to-disk -o disk.raw -t alpine sh", "a shell on the console"),
        ("estiba image to-disk -o disk.qcow2 --network host --append ip=dhcp web", "with the machine's network"),
    ],
    least=1,
    most=None,
    flags_end=2,
    complete="image",
)
