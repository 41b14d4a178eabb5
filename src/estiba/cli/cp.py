"""``estiba cp``: files between this machine and a container."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, switch
from estiba.cli.streams import open_input, open_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from contextlib import ExitStack

    from estiba.cli.progress import progress_for
    from estiba.engine.cp import Copy, cp
    from estiba.engine.units import human_size

    source, target = found.arguments
    quiet = found.switch("quiet") if found.given("quiet") else not output.is_terminal(2)
    with ExitStack() as stack:
        options = Copy(
            archive=found.switch("archive"),
            follow_link=found.switch("follow-link"),
            stdin=stack.enter_context(open_input("-", "cp")) if source == "-" else None,
            stdout=stack.enter_context(open_output("-", "cp")) if target == "-" else None,
        )
        options.progress = stack.enter_context(progress_for(quiet=quiet))
        total = cp(context.store, context.settings, source, target, options)
    if not quiet and target != "-":
        output.talk(f"Successfully copied {human_size(total)} to {target}")
    return 0


COMMAND = Command(
    "cp",
    "Copy files between this machine and a container",
    _run,
    usage="CONTAINER:PATH PATH|- | PATH|- CONTAINER:PATH",
    sections={
        "Options": [
            switch("archive", "Keep owners, set-id bits and capabilities", short="a"),
            switch("follow-link", "Copy what the symbolic link SOURCE leads to", short="L"),
            switch("quiet", "Say nothing of progress; the default where standard error is no terminal", short="q"),
        ]
    },
    about="""The container may run or not. A folder whose path ends in /. stands for its content. With - the files come from, or go to, a
    tar stream. No link of the container leads out of it.""",
    examples=[
        ("estiba cp web:/etc/nginx/nginx.conf .", "a file out of a container"),
        ("estiba cp site/. web:/srv/www", "a folder's content into one"),
        ("estiba cp web:/var/log - | tar -tv", "as a tar stream"),
    ],
    aliases=("container cp",),
    least=2,
    most=2,
    complete="file",
)
