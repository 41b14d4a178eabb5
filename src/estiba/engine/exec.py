"""`exec`: a further process in a container that runs. On the start path.

Only the helper enters the container (hardening W5): by the pidfd of its program, with its control groups, user, capabilities and filter.
Nothing is made on the host, so nothing is recorded. The process is watched by a monitor and a keeper of its own; what its caller does not
wait for goes on as long as the container does. `engine/exec_child.py` is this for the library.
"""

from __future__ import annotations

import os

from estiba.engine import containers, event_log, stored_options
from estiba.engine.binder import window
from estiba.engine.entering import PATH, Draft, check_enters, way_in
from estiba.engine.launching import filter_of, profile_of, stored_profile
from estiba.errors import NotImplemented, OnFailure
from estiba.linux.facts import hard_limits
from estiba.oci.platform import parse_platform
from estiba.plan import ops
from estiba.runtime.compile import namespace_flags, process_ops
from estiba.runtime.exec_spec import exec_spec
from estiba.runtime.launch import Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiba.config.settings import Settings
    from estiba.engine.containers import Container
    from estiba.engine.exec_tools import Tools
    from estiba.engine.missing_image import ProgressMaker
    from estiba.plan.ops import Op
    from estiba.runtime.options import RunOptions
    from estiba.store.layout import Store

_NULL, _PIPES, _TERMINAL = 0, 1, 2  # kinds of `streams` (helper/ops.toml)


def exec_(
    store: Store, settings: Settings, name: str, options: RunOptions, *, progress: ProgressMaker | None = None, stay: bool = False
) -> int:
    """Runs `options.command` in a container, with the caller's streams, and exits with its code; or, with `options.detach`, with 0 when it
    was executed.

    Without `stay` the helper takes this process's place, and nothing is returned. Of the options these count: command env env_files
    environ user workdir tty interactive privileged detach detach_keys with_images. `progress` is for the pull of an image of --with.

    Raises NotFound, Conflict (an ambiguous id, a container that does not run). What the helper cannot do is its exit code: 127 for a
    program that is not there, 126 for one that cannot be executed and for every other failure.
    """
    container = containers.find(store, name)
    launch = _with_tools(store, settings, container, options, progress) if options.with_images else prepare(settings, container, options)
    return launch.spawn().wait() if stay else launch.exec()


def prepare(
    settings: Settings,
    container: Container,
    options: RunOptions,
    *,
    tools: Tools | None = None,
    status: int | None = None,
    report: int | None = None,
    tell: bool = True,
) -> Launch:
    """What launches the process, with `tools` laid over the container's files. `status` and `report` are descriptors for the helper's
    status and failure (helper/PROTOCOL.md); `tell` makes events of it. Raises Conflict when the container does not run, and what
    `Tools.root` raises.
    """
    check_enters(container, "exec in")
    if options.env_files:
        from estiba.engine.container_files import read_env_file

        read = [entry for path in options.env_files for entry in read_env_file(path)]
        options.env, options.env_files = read + options.env, []
    own = container.spec()
    if container.kernel:
        from estiba.engine import machine_exec

        process, namespaces = machine_exec.program_ops(container, own, options), machine_exec.NAMESPACES
    else:
        process, namespaces = _process_ops(container, own, options, tools), namespace_flags(own)
    draft = Draft()
    root: list[Op] = []
    with OnFailure(draft.close):
        record, host = way_in(draft, settings, container, namespaces)
        if tools is not None:
            maps, root = tools.root(draft, record, own)
            host += maps
        for given, operation in ((status, ops.status), (report, ops.report)):
            if given is not None:
                host.append(operation(draft.slot(os.dup(given))))
        if tell:
            folder, name = os.path.split(event_log.path_for(container))
            slot = draft.slot(os.open(folder, PATH))
            host.append(ops.events(slot, name, *event_log.exec_lines(container, options.command)))
        console = [ops.console()] if options.tty else []
        return Launch(settings, [*draft.slots, *host, *_streams(options), *root, *console, *process], draft.descriptors)


def _process_ops(container: Container, own: dict[str, Any], options: RunOptions, tools: Tools | None) -> list[Op]:
    stored = stored_options.options(container.options, f"{container.folder}/state.json")
    spec = exec_spec(own, options, hard_limits())
    if tools is not None and not any(entry.startswith("PATH=") for entry in options.env):
        spec["process"]["env"] = tools.environment(spec["process"]["env"])
    profile = profile_of(stored, stored_profile(container.folder))
    machine = os.uname().machine
    return list(process_ops(spec, filter_of(stored, profile, own, parse_platform(container.platform).architecture, machine)))


def _with_tools(store: Store, settings: Settings, container: Container, options: RunOptions, progress: ProgressMaker | None) -> Launch:
    from estiba.engine.exec_tools import Tools

    check_enters(container, "exec in")  # before an image is pulled
    if container.kernel:
        raise NotImplemented(
            f"cannot exec in container {container.name} with other images: it runs on a kernel of its own, which does not see their layers",
            hint=f"copy the tools into it: estiba cp FILE {container.name}:/tmp",
        )
    with store.using():
        return prepare(settings, container, options, tools=Tools(store, settings, options, progress))


def _streams(options: RunOptions) -> list[Op]:
    """Streams and client. As Docker's, `exec` passes no signals on: who ends it leaves the process to itself."""
    kind = _TERMINAL if options.tty else _NULL if options.detach else _PIPES
    rows, columns = window() if options.tty else (0, 0)
    streams = [ops.streams(kind, int(options.interactive and not options.detach), rows, columns), ops.client(int(not options.detach), 0)]
    if options.tty and options.detach_keys:
        streams.append(ops.detach_keys(options.detach_keys))
    return streams
