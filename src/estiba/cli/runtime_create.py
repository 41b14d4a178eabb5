"""``estiba runtime create``: a bundle's container up to its program."""

from __future__ import annotations

from estiba.cli.arguments import Flag, switch
from estiba.cli.runtime import root_of, runtime_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context
    from estiba.engine.oci_runtime.create import CreateOptions

FLAGS = (
    Flag("bundle", "Folder that holds config.json", short="b", value="folder", default=".", complete="folder"),
    Flag("console-socket", "Unix socket that gets the master of the program's terminal", value="path", complete="file"),
    Flag("pid-file", "File for the pid of the first process", value="path", complete="file"),
    switch("no-pivot", "Move the root instead of pivot_root, on a ramfs"),
    switch("no-new-keyring", "Keep the caller's session keyring"),
    Flag("preserve-fds", "Pass this many of the caller's descriptors from 3 on", kind="int", value="number", default=0),
)


def options_from(found: Invocation) -> CreateOptions:
    """What the flags say."""
    from estiba.engine.oci_runtime.create import CreateOptions

    options = CreateOptions()
    options.console_socket = found.string("console-socket")
    options.pid_file = found.string("pid-file")
    options.pivot = not found.switch("no-pivot")
    options.keyring = not found.switch("no-new-keyring")
    options.preserve_fds = found.integer("preserve-fds")
    return options


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.create import create

    create(context.settings, root_of(found), found.arguments[0], found.string("bundle"), options_from(found))
    return 0


COMMAND = runtime_command(
    "create",
    "Create a container of a bundle, which waits for 'start'",
    _run,
    usage="ID",
    flags=FLAGS,
    examples=[("estiba runtime create --bundle alpine-bundle web", "then 'estiba runtime start web'")],
)
