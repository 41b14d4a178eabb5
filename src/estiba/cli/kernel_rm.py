"""``estiba kernel rm``: remove kernels."""

from __future__ import annotations

from estiba.cli.arguments import Command, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context


def _run(context: Context, found: Invocation) -> int:
    from estiba.cli.each import each_says
    from estiba.engine.kernel_list import remove_kernel

    force = found.switch("force")
    return each_says(found.arguments, lambda name: [item.line for item in remove_kernel(context.store, name, force=force)])


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
