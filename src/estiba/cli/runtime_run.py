"""``estiba runtime run``: create and start in one."""

from __future__ import annotations

from estiba.cli.arguments import switch
from estiba.cli.runtime import root_of, runtime_command
from estiba.cli.runtime_create import FLAGS, options_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.run import run

    return run(
        context.settings,
        root_of(found),
        found.arguments[0],
        found.string("bundle"),
        options_from(found),
        detach=found.switch("detach"),
        keep=found.switch("keep"),
    )


COMMAND = runtime_command(
    "run",
    "Run a container of a bundle",
    _run,
    flags=(
        *FLAGS,
        switch("detach", "Do not wait for its end", short="d"),
        switch("keep", "Do not delete the container at its end"),
        switch("no-subreaper", "", ignored="without --detach the caller is always the program's parent"),
    ),
    examples=[("estiba bundle alpine b && estiba runtime run --bundle b shell", "its exit code is the program's")],
)
