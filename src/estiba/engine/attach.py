"""`attach`: this process becomes a further client of a container that runs."""

from __future__ import annotations

import os

from estiba.engine import containers, event_log, records
from estiba.errors import FailedPrecondition
from estiba.oci.strict_json import get_bool, get_dict
from estiba.plan import ops
from estiba.runtime.launch import Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.config.settings import Settings
    from estiba.store.layout import Store

_PIPES, _TERMINAL = 1, 2  # kinds of `streams` (helper/ops.toml)


def attach(
    store: Store, settings: Settings, name: str, *, detach_keys: bytes, stdin: bool = True, sig_proxy: bool = True, stay: bool = False
) -> int:
    """Copies the streams until the container ends or the detach keys are typed, and exits with the container's code or 0.

    Without `stay` the helper takes this process's place, and nothing is returned. `stdin` passes standard input on where the container
    takes any; `sig_proxy` passes signals on to a program without a terminal.

    Raises NotFound, Conflict (an ambiguous id), FailedPrecondition for a container that does not run, or has a terminal while standard
    input is none.
    """
    container = containers.find(store, name)
    _check_runs(container)
    terminal = get_bool(get_dict(container.spec(), "process", "config.json"), "terminal", "config.json", False)
    stdin = stdin and container.interactive
    if terminal and stdin and not os.isatty(0):
        raise FailedPrecondition(
            f"cannot attach to container {container.name}: it has a terminal, and standard input is none", hint="use --no-stdin"
        )
    folder = os.open(records.attach_folder(settings), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    plan = [
        ops.slot(0, folder, ""),
        ops.connect(0, container.id),
        ops.streams(_TERMINAL if terminal else _PIPES, int(stdin), 0, 0),
        ops.client(1, int(sig_proxy and not terminal)),  # a terminal's keys reach the program as bytes
        *([ops.detach_keys(detach_keys)] if terminal and stdin else []),
    ]
    event_log.container(container, "attach")
    launch = Launch(settings, plan, [folder], command="attach")
    return launch.spawn().wait() if stay else launch.exec()


def _check_runs(container: containers.Container) -> None:
    if container.status != "running":
        verb = "unpause" if container.status == "paused" else "start"
        hint = f"{verb} it first: estiba {verb} {container.name}"
        raise FailedPrecondition(f"cannot attach to container {container.name}: it is {container.status}", hint=hint)
