"""``estiba kernel rm``: remove kernels."""

from __future__ import annotations

from estiba.cli import output
from estiba.cli.arguments import Command, switch
from estiba.errors import EstibaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.kernel_list import remove_kernel

    failures: list[EstibaError] = []
    for name in found.arguments:
        try:
            removed = remove_kernel(context.store, name, force=found.switch("force"))
        except EstibaError as error:
            failures.append(error)
        else:
            output.lines(item.line for item in removed)
    return output.failures(failures)


COMMAND = Command(
    "kernel rm",
    "Remove kernels",
    _run,
    usage="KERNEL [KERNEL...]",
    sections={"Options": [switch("force", "Remove every name of a kernel that is given by its id", short="f")]},
    aliases=("kernel remove",),
    least=1,
    most=None,
    complete="image",
)
