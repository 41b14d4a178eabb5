"""``estiba exec``: run a further program in a container that runs. On the start path."""

from __future__ import annotations

import os

from estiba.cli.arguments import Command, Flag, many, switch
from estiba.runtime.options import RunOptions
from estiba.runtime.parse_options import PARSERS, SWITCHES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context
    from estiba.cli.progress import Quiet


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.exec import exec_

    name, *command = found.arguments
    options = RunOptions("", command)
    options.environ = os.environ
    for flag, value in found.values.items():
        if flag in SWITCHES:
            setattr(options, SWITCHES[flag], value)
        else:
            for text in value if isinstance(value, list) else [str(value)]:
                PARSERS[flag](options, text)

    def progress() -> Quiet:
        from estiba.cli.progress import progress_for

        return progress_for(quiet=False)

    return exec_(context.store, context.settings, name, options, progress=progress)


COMMAND = Command(
    "exec",
    "Run a further program in a running container",
    _run,
    usage="CONTAINER COMMAND [ARG...]",
    sections={
        "Options": [
            switch("detach", "Leave it in the background, once it was executed", short="d"),
            Flag("detach-keys", "Keys that leave it running in the background, ctrl-p,ctrl-q where nothing is given", value="keys"),
            many("env", "Set a variable; without a value, pass the caller's on", short="e", value="name=value"),
            many("env-file", "Read variables from a file", value="file", complete="file"),
            switch("interactive", "Pass standard input on", short="i"),
            switch("privileged", "Give it every capability of the container's user namespace"),
            switch("tty", "Give it a terminal", short="t"),
            Flag("user", "User to run as: name or uid, and group", short="u", value="user[:group]"),
            many("with", "Lay an image of tools over the container's files, for this program alone", value="image", complete="image"),
            Flag("workdir", "Folder to start in", short="w", value="folder"),
        ]
    },
    about="""The program gets the container's namespaces, control groups, user, environment, capabilities and system-call filter. The
    exit code is its own, 127 where there is no such program, 126 where it cannot be executed, 1 where the container does not run. It
    ends with the container at the latest; to kill `estiba exec` does not end it.

    With `--with` it sees the image's files over the container's, read-only, and what the container has mounted; the container itself
    sees nothing of it. /proc/1/root is the container's own root, as it is and to be written.""",
    examples=[
        ("estiba exec -it web sh", "a shell beside what runs in it"),
        ("estiba exec -u app -w /srv -e MODE=check web ./check", ""),
        ("estiba exec -it --with alpine web sh", "into a container that has no shell"),
        ("estiba exec -d web ./rotate", "goes on in the background"),
    ],
    aliases=("container exec",),
    least=2,
    most=None,
    flags_end=1,
    complete="container",
)
