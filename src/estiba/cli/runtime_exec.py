"""``estiba runtime exec``: one more process in a container."""

from __future__ import annotations

from estiba.cli.arguments import Flag, many, switch
from estiba.cli.runtime import root_of, runtime_command
from estiba.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context
    from estiba.engine.oci_runtime.config import Section
    from estiba.engine.oci_runtime.exec import ProcessChanges

_ID_MAX = 0xFFFFFFFE


def _run(context: Context, found: Invocation) -> int:
    from estiba.engine.oci_runtime.create import CreateOptions
    from estiba.engine.oci_runtime.exec import exec_process
    from estiba.engine.oci_runtime.run import become_subreaper, forward_signals, wait_for

    options = CreateOptions()
    options.console_socket = found.string("console-socket")
    options.pid_file = found.string("pid-file")
    options.preserve_fds = found.integer("preserve-fds")
    masters: list[int] = []
    if not found.switch("detach"):
        become_subreaper()
        if not options.console_socket:
            options.terminal = masters.append
    paused = found.switch("ignore-paused")
    pid = exec_process(context.settings, root_of(found), found.arguments[0], _process(found), options, ignore_paused=paused)
    if found.switch("detach"):
        return 0
    forward_signals(pid)
    return wait_for(pid, masters)


def _process(found: Invocation) -> Section | ProcessChanges:
    from estiba.engine.oci_runtime.exec import ProcessChanges, read_process

    if found.given("process"):
        return read_process(found.string("process"))
    if len(found.arguments) < 2:
        raise InvalidArgument("cannot exec: neither a program nor --process is given")
    changes = ProcessChanges(found.arguments[1:])
    changes.environment = found.strings("env")
    changes.capabilities = found.strings("cap")
    changes.additional_gids = [_id(text) for text in found.strings("additional-gids")]
    changes.terminal = found.switch("tty")
    if found.given("cwd"):
        changes.cwd = found.string("cwd")
    if found.given("user"):
        uid, colon, gid = found.string("user").partition(":")
        changes.user = (_id(uid), _id(gid) if colon else None)
    if found.given("no-new-privs"):
        changes.no_new_privileges = found.switch("no-new-privs")
    return changes


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _ID_MAX):
        raise InvalidArgument(f"cannot exec: {text!r} is not a user's or group's number")
    return int(text)


COMMAND = runtime_command(
    "exec",
    "Run one more process in a container",
    _run,
    usage="ID [COMMAND] [ARG...]",
    flags=(
        Flag("process", "File with the process as JSON", short="p", value="file", complete="file"),
        Flag("console-socket", "Unix socket that gets the master of the program's terminal", value="path", complete="file"),
        Flag("pid-file", "File for the pid", value="path", complete="file"),
        switch("detach", "Do not wait for its end", short="d"),
        switch("tty", "Give it a terminal", short="t"),
        Flag("cwd", "Working directory", value="path"),
        many("env", "Add a variable NAME=VALUE", short="e", value="list"),
        Flag("user", "Numbers of user and group", short="u", value="uid[:gid]"),
        many("additional-gids", "Add a group", short="g", value="gid"),
        many("cap", "Add a capability", short="c", value="name"),
        switch("no-new-privs", "Set no_new_privs"),
        Flag("preserve-fds", "Pass this many of the caller's descriptors from 3 on", kind="int", value="number", default=0),
        switch("ignore-paused", "Also in a paused container: it runs when that is resumed"),
        Flag("apparmor", "", refused="AppArmor is not offered"),
        Flag("process-label", "", refused="SELinux is not offered"),
        Flag("cgroup", "", refused="the process is in the container's own control groups"),
    ),
    examples=[("estiba runtime exec -t web sh", "a shell in the container")],
    most=None,
    flags_end=1,
    failure=255,
)
