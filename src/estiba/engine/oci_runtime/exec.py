"""`exec`: one more process in a container that runs."""

from __future__ import annotations

import os

from estiba.engine.oci_runtime import process_plan
from estiba.engine.oci_runtime.config import Section, check_process
from estiba.engine.oci_runtime.console import no_console, send_console
from estiba.engine.oci_runtime.create import check_console, write_pid
from estiba.engine.oci_runtime.creation import Creation, Slots
from estiba.engine.oci_runtime.plan import CLONE, streams
from estiba.engine.oci_runtime.state import State
from estiba.errors import Conflict
from estiba.oci import strict_json
from estiba.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from estiba.engine.oci_runtime.config import Bundle
    from estiba.engine.oci_runtime.create import CreateOptions
    from estiba.plan.helper import HelperSettings
    from estiba.plan.ops import Op

_FILES = {"user": "user", "ipc": "ipc", "uts": "uts", "network": "net", "pid": "pid", "cgroup": "cgroup", "mount": "mnt", "time": "time"}


class ProcessChanges:
    """What a command line changes of the container's own process; None where it says nothing."""

    __slots__ = ("additional_gids", "arguments", "capabilities", "cwd", "environment", "no_new_privileges", "terminal", "user")

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self.environment: list[str] = []
        self.capabilities: list[str] = []
        self.additional_gids: list[int] = []
        self.cwd: str | None = None
        self.user: tuple[int, int | None] | None = None
        self.terminal = False
        self.no_new_privileges: bool | None = None

    def of(self, process: Section) -> Section:
        """The process as it is then."""
        value: dict[str, Any] = {**process.value, "args": self.arguments, "terminal": self.terminal}
        value["env"] = [*process.texts("env"), *self.environment]
        if self.cwd is not None:
            value["cwd"] = self.cwd
        if self.no_new_privileges is not None:
            value["noNewPrivileges"] = self.no_new_privileges
        user = dict(process.section("user").value)
        if self.user is not None:
            user |= {"uid": self.user[0], "gid": user.get("gid", 0) if self.user[1] is None else self.user[1]}
        if self.additional_gids:
            user["additionalGids"] = self.additional_gids
        value["user"] = user
        if self.capabilities:
            sets = process.section("capabilities")
            named = ("bounding", "effective", "permitted")
            value["capabilities"] = dict(sets.value) | {name: [*sets.texts(name), *self.capabilities] for name in named}
        return Section(value, "process")


def read_process(path: str) -> Section:
    """A process object from a file. Raises DataLoss, InvalidArgument."""
    with open(path, "rb") as file:
        value = strict_json.loads(file.read(strict_json.LIMIT + 1), what=path)
    process = Section(strict_json.as_dict(value, path), path)
    check_process(process)
    return process


def exec_process(
    settings: HelperSettings, root: str, name: str, process: Section | ProcessChanges, options: CreateOptions, *, ignore_paused: bool
) -> int:
    """Runs `process` in container `name`; returns its pid when it is executed. This process must be a subreaper, or gone, to part from it.

    Raises NotFound, Conflict for a container that does not run, and what `create` raises of a program.
    """
    state = State.read(root, name)
    status = state.status
    if status not in ("created", "running") and not (status == "paused" and ignore_paused):
        raise Conflict(f"cannot exec in container {name}: it is {status}")
    bundle = state.config()
    wanted = process.of(bundle.process) if isinstance(process, ProcessChanges) else process
    check_process(wanted)
    check_console(options, wanted=wanted.flag("terminal"))
    slots = Slots()

    def plan(caller: int) -> list[Op]:
        rest = [*_joined(state, bundle, slots), *_host(state, wanted, slots, options, caller)]
        if wanted.flag("terminal"):
            rest.append(ops.console())
        rest += [*process_plan.before_user(wanted), *process_plan.as_user(wanted, bundle.linux)]
        return [*(ops.slot(number, *opened) for number, opened in enumerate(slots.opened)), *rest]

    terminal = options.terminal or (lambda master: send_console(options.console_socket, master))
    creation = Creation(ask=lambda _pid: None, terminal=terminal if wanted.flag("terminal") else no_console)
    try:
        pid = creation.carry_out(settings, plan, slots, process_plan.program_name(wanted))
    finally:
        slots.close()
    if options.pid_file:
        write_pid(options.pid_file, pid)
    return pid


def _joined(state: State, bundle: Bundle, slots: Slots) -> list[Op]:
    """The container's namespaces that are not the caller's, and its root where that is not its mount namespace's.

    Opened before it is known that the pid is still the container's.
    """
    plan: list[Op] = []
    for kind, file in _FILES.items():
        path = f"/proc/{state.pid}/ns/{file}"
        try:
            there, here = os.stat(path), os.stat(f"/proc/self/ns/{file}")
            if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
                plan.append(ops.join_namespace(slots.open(path, os.O_RDONLY), CLONE[kind]))
        except FileNotFoundError:
            continue
    if not bundle.makes_mounts:
        plan.append(ops.join_root(slots.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY)))
    if not state.alive:
        raise Conflict(f"cannot exec in container {state.id}: it is stopped")
    return plan


def _host(state: State, process: Section, slots: Slots, options: CreateOptions, caller: int) -> list[Op]:
    groups = [ops.cgroup(slots.open(path, os.O_PATH | os.O_DIRECTORY)) for path in state.cgroups]
    kept = [ops.keep(slots.add(descriptor, keep=True)) for descriptor in range(3, 3 + options.preserve_fds)]
    return [ops.namespaces(0), *groups, streams(process), ops.caller(caller, 1), *kept]
