"""``estiba kernel build``: compile a small kernel for guests and make its image."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, many, switch
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.progress import progress_for
    from estiba.engine.kernel_build import KINDS, build, configuration

    kind, source = found.arguments[0], found.string("source")
    if kind not in KINDS:
        raise InvalidArgument(f"cannot build a kernel for {kind!r}: there is no such kind", hint=f"valid values: {', '.join(KINDS)}")
    fragments = found.strings("config")
    if found.switch("print-config"):
        output.lines(configuration(kind, fragments).splitlines())
        return 0
    if not source:
        raise InvalidArgument("cannot build a kernel: no --source", hint="a source tree, a tarball of one, or debian")
    with progress_for() as progress:
        images = build(
            context.store,
            context.settings,
            kind,
            source,
            fragments=fragments,
            folder=found.string("directory") or None,
            jobs=found.integer("jobs") or None,
            progress=progress,
        )
    for image in images:
        output.talk(f"built {image.reference.familiar}")
    output.lines(image.id for image in images)
    return 0


COMMAND = Command(
    "kernel build",
    "Compile a small kernel for guests",
    _run,
    usage="para|machine",
    sections={
        "Options": [
            Flag("source", "A source tree of Linux, a tarball of one, or 'debian' for the package manager's", value="path"),
            many("config", "File of further options, which win", value="file"),
            Flag("directory", "Compile there and leave what was compiled for the next time", value="path"),
            Flag("jobs", "Compilers at once, as many as processors without it", short="j", kind="int", value="number"),
            switch("print-config", "Print the options and build nothing"),
        ]
    },
    about="""'para' is User-Mode Linux for --isolation para. 'machine' is a kernel for machines with virtio and with emulated hardware:
    as a vmlinux, which QEMU starts by itself, and as a bzImage, which a firmware boots. The configuration leaves out whatever a guest
    does not need; a build takes minutes. The images can be pushed, so that others pull them.""",
    examples=[
        ("estiba kernel build machine --source debian", "Debian's source of Linux"),
        ("estiba kernel build para --source linux-6.12.tar.xz -j 4", "a tarball"),
    ],
    least=1,
    most=1,
)
