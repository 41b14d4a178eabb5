"""``estiba kernel import``: make the image of a kernel."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, switch
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    if found.switch("auto"):
        from estiba.cli.progress import progress_for
        from estiba.engine.kernel_auto import import_auto

        if found.arguments or found.string("tag"):
            raise InvalidArgument("cannot import a kernel: --auto finds the file and its name by itself")
        image = import_auto(context.store, context.settings, progress_for())
    elif found.arguments:
        from estiba.engine.kernel_import import import_kernel

        image = import_kernel(context.store, context.settings, found.arguments[0], found.string("tag") or None)
    else:
        raise InvalidArgument("cannot import a kernel: no file is named", hint="estiba kernel import FILE, or --auto")
    output.talk(f"imported {image.reference.familiar}")
    output.lines([image.id])
    return 0


COMMAND = Command(
    "kernel import",
    "Make the image of a kernel from its file",
    _run,
    usage="[FILE]",
    sections={
        "Options": [
            switch("auto", "Take what this machine or its package manager offers, once it ran a container"),
            Flag("tag", "Name of the image, if not localhost/kernel with kind and release", short="t", value="name"),
        ]
    },
    about="""FILE is a User-Mode Linux program, a vmlinux, bzImage or Image, plain or compressed, or Debian's package user-mode-linux.
    The libraries that a program is linked with come along. The kernel imported last is the one that 'estiba run --isolation' takes.""",
    examples=[
        ("estiba kernel import linux.uml", "a kernel for --isolation para"),
        ("estiba kernel import --auto", "what the machine has"),
    ],
    most=1,
    complete="file",
)
