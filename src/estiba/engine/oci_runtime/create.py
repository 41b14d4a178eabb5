"""`create`: makes a bundle's container up to its program, which waits for `start`."""

from __future__ import annotations

import os

from estiba.engine.oci_runtime import borrowed_mounts, cgroups
from estiba.engine.oci_runtime.config import Bundle
from estiba.engine.oci_runtime.console import no_console, send_console
from estiba.engine.oci_runtime.creation import Creation, Slots
from estiba.engine.oci_runtime.delete import take_away
from estiba.engine.oci_runtime.hooks import hooks, run_hooks
from estiba.engine.oci_runtime.plan import ContainerPlan
from estiba.engine.oci_runtime.process_plan import program_name
from estiba.engine.oci_runtime.state import State
from estiba.errors import InvalidArgument, OnFailure
from estiba.linux.process import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.engine.oci_runtime.cgroups import Hierarchy
    from estiba.plan.helper import HelperSettings


class CreateOptions:
    """What `create` is told beside the bundle: where a terminal's master goes, the file for the pid, how many descriptors from 3 on the
    program gets, whether pivot_root(2) is used, and whether the program gets a session keyring of its own.
    """

    __slots__ = ("console_socket", "keyring", "pid_file", "pivot", "preserve_fds", "terminal")

    def __init__(self) -> None:
        self.console_socket = ""
        self.pid_file = ""
        self.preserve_fds = 0
        self.pivot = True
        self.keyring = True
        # For a caller that copies the terminal itself.
        self.terminal: Callable[[int], None] | None = None


def create(settings: HelperSettings, root: str, name: str, folder: str, options: CreateOptions) -> State:
    """Creates container `name` of the bundle in `folder`.

    Raises AlreadyExists, InvalidArgument, NotFound, NotImplemented, CommandNotFound, CannotExecute, LaunchFailed, and FailedPrecondition
    for limits and hooks; then nothing of it is left.
    """
    bundle = Bundle.open(folder)
    check_console(options, wanted=bundle.process.flag("terminal"))
    for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
        hooks(bundle, kind)
    state = State.make(root, name, bundle)
    with state.lock():
        with OnFailure(take_away, state):
            _make(settings, state, bundle, options)
    return state


def check_console(options: CreateOptions, *, wanted: bool) -> None:
    """Refuses a terminal that would go nowhere, and a place for one that there is not."""
    if options.terminal is None and wanted and not options.console_socket:
        raise InvalidArgument("cannot create the container: its process has a terminal, and --console-socket is not given")
    if options.console_socket and not wanted:
        raise InvalidArgument("cannot use --console-socket: the process has no terminal")


def _make(settings: HelperSettings, state: State, bundle: Bundle, options: CreateOptions) -> None:
    if not bundle.makes_mounts:
        state.root, state.root_mounts = bundle.root, borrowed_mounts.count(bundle.root)
    groups = _make_groups(state, bundle)
    slots = Slots()

    def ask(pid: int) -> None:
        _know(state, pid)
        for kind in ("prestart", "createRuntime"):
            run_hooks(bundle, kind, state, "creating")

    terminal = options.terminal or (lambda master: send_console(options.console_socket, master))
    creation = Creation(ask=ask, terminal=terminal if bundle.process.flag("terminal") else no_console)
    keep = range(3, 3 + options.preserve_fds)
    plan = ContainerPlan(bundle, state, slots, groups, keep, pivot=options.pivot, keyring=options.keyring)
    try:
        _know(state, creation.carry_out(settings, plan.operations, slots, program_name(bundle.process)))
    finally:
        slots.close()
    if options.pid_file:
        write_pid(options.pid_file, state.pid)


def _make_groups(state: State, bundle: Bundle) -> list[tuple[Hierarchy, str]]:
    asked, resources = bundle.linux.text("cgroupsPath", ""), bundle.linux.section("resources")
    wanted = [(hierarchy, hierarchy.path(asked, state.id)) for hierarchy in cgroups.hierarchies()]
    state.cgroups = [path for _, path in wanted]
    state.made_cgroups = [path for path in state.cgroups if cgroups.missing_directories(path)]
    state.write()
    made = [(hierarchy, path) for hierarchy, path in wanted if cgroups.make(hierarchy, path)]
    state.cgroups = [path for _, path in made]
    cgroups.require_devices(hierarchy for hierarchy, _ in made)
    cgroups.set_all(made, resources)
    return made


def _know(state: State, pid: int) -> None:
    state.pid, state.started = pid, start_time(pid)
    state.write()


def write_pid(path: str, pid: int) -> None:
    """Publishes the pid in a file, which never holds a part of it."""
    folder, name = os.path.split(path)
    new = f"{folder or '.'}/.{name}.new"
    with open(new, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(new, path)
