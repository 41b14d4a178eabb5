"""``estiba run``: create and run a container.

This module is on the start path: it imports the parser, the options and nothing that a run does not need.
"""

from __future__ import annotations

import os

from estiba.cli import output
from estiba.cli.arguments import Command, Flag, many, switch
from estiba.errors import InvalidArgument
from estiba.runtime.options import RunOptions
from estiba.runtime.parse_lifecycle import check, no_healthcheck
from estiba.runtime.parse_options import PARSERS, SWITCHES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiba.cli.arguments import Invocation
    from estiba.cli.context import Context
    from estiba.cli.progress import Quiet

_NO_NETWORK = "a container has no network yet; --network host uses the host's"
_WINDOWS = "it is a flag for Windows"

_CONTAINER = (
    many("attach", "Streams to attach, else all that there are: stdin, stdout, stderr", short="a", value="stream"),
    Flag("cidfile", "Write the container's id to this file", value="file", complete="file"),
    switch("detach", "Run in the background and print the container's id", short="d"),
    Flag("detach-keys", "Keys that detach the terminal", value="keys"),
    switch("dry-run", "Print the OCI runtime spec and the plan, and run nothing"),
    switch("explain", "Print what was done, step by step, with the milliseconds of each"),
    switch("init", "Run a small init as PID 1 that forwards signals and reaps"),
    switch("interactive", "Pass standard input on", short="i"),
    many("label", "Set a label", short="l", value="key=value"),
    many("label-file", "Read labels from a file", value="file", complete="file"),
    many("annotation", "Set an annotation of the OCI spec", value="key=value"),
    Flag("log-driver", "How output is kept: cri (also under Docker's names json-file and local) or none", value="driver"),
    many("log-opt", "max-size=10m, max-file=3; labels=..., env=... for logs --details", value="name=value"),
    Flag("name", "Give the container a name"),
    Flag("restart", "When it is started again: no, on-failure[:attempts], always, unless-stopped", value="policy"),
    switch("rm", "Remove the container when it ends"),
    switch("sig-proxy", "Pass signals on to the program", default=True),
    Flag("stop-signal", "Signal that asks the program to end", value="signal"),
    Flag("stop-timeout", "Seconds between that signal and SIGKILL", value="seconds"),
    switch("tty", "Give the program a terminal", short="t"),
)
_IMAGE = (
    Flag("platform", "Platform of the image, if it has several", value="os/arch"),
    Flag("pull", "When to pull the image", value="when", default="missing", choices=("always", "missing", "never")),
    switch("quiet", "Show no progress of a pull", short="q"),
    many("with", "Stack a further image on the first one", value="image", complete="image"),
)
_PROCESS = (
    Flag("entrypoint", "Program to run instead of the image's", value="program"),
    many("env", "Set a variable; without a value, pass the caller's on", short="e", value="name=value"),
    many("env-file", "Read variables from a file", value="file", complete="file"),
    many("group-add", "Add a group", value="group"),
    many("ulimit", "Set a limit of setrlimit(2)", value="name=soft:hard"),
    Flag("user", "User to run as: name or uid, and group", short="u", value="user[:group]"),
    Flag("workdir", "Folder to start in", short="w", value="folder"),
)
_FILES = (
    many("device", "Give the container a device", value="/dev/name"),
    many("mount", "Mount something: type=bind|tmpfs,source=...,target=...", value="mount"),
    switch("read-only", "Make the root file system read-only"),
    Flag("shm-size", "Size of /dev/shm", value="bytes"),
    many("tmpfs", "Mount a tmpfs", value="folder"),
    many("volume", "Mount a folder of the host", short="v", value="from:to[:ro]", complete="file"),
    many("volumes-from", "Mount what another container mounts", value="container"),
)
_HEALTH = (
    Flag("health-cmd", "Command for the container's shell that tells by its exit code whether all is well", value="command"),
    Flag("health-interval", "Time between two checks (30s)", value="duration"),
    Flag("health-retries", "So many failures in a row mean unhealthy (3)", value="number"),
    Flag("health-start-interval", "Time between two checks in the start period (5s)", value="duration"),
    Flag("health-start-period", "Time to start in, in which failures do not count (0s)", value="duration"),
    Flag("health-timeout", "Time that a check may take (30s)", value="duration"),
    switch("no-healthcheck", "No check, not even the image's"),
)
_ISOLATION = (
    many("cap-add", "Add a capability", value="capability"),
    many("cap-drop", "Drop a capability, or ALL", value="capability"),
    Flag("cgroupns", "Control group namespace: private or host", value="which"),
    Flag("isolation", "Kernel to run on: container (the host's), para, partial, full or auto", value="rung", default="container"),
    Flag("kernel", "Kernel for --isolation: an image or a file", value="kernel", complete="file"),
    many("emulate", "What --isolation partial emulates: cpu, disk, net, console, firmware", value="part,..."),
    switch("snapshot", "Begin where a machine like this one was parked after its boot (QEMU)", default=True),
    Flag("ipc", "IPC namespace: private or host", value="which"),
    Flag("pid", "Process namespace: private or host", value="which"),
    switch("privileged", "Give every capability of the container's user namespace and the caller's devices, drop the filter"),
    many("security-opt", "no-new-privileges, seccomp=FILE, seccomp=unconfined, systempaths=unconfined", value="option"),
    many("sysctl", "Set a sysctl of the container's namespaces", value="name=value"),
    Flag("userns", "User namespace: private, or host for root", value="which"),
    Flag("uts", "Host name namespace: private or host", value="which"),
)
#: Limits that `update` changes, too.
LIMITS = (
    Flag("blkio-weight", "Share of the block devices where they are busy (10 to 1000)", value="weight"),
    Flag("cpu-period", "Period of the processor limit in microseconds", value="us"),
    Flag("cpu-quota", "Processor time in each period in microseconds", value="us"),
    Flag("cpu-shares", "Share of the processors where they are scarce", short="c", value="weight"),
    Flag("cpus", "Number of processors", value="decimal"),
    Flag("cpuset-cpus", "Processors to run on (0-3, 0,1)", value="list"),
    Flag("cpuset-mems", "Memory nodes to use", value="list"),
    Flag("memory", "Memory limit", short="m", value="bytes"),
    Flag("memory-reservation", "Memory to keep when the host is short of it", value="bytes"),
    Flag("memory-swap", "Memory and swap together, -1 for no limit", value="bytes"),
    Flag("pids-limit", "Number of processes, -1 for no limit", value="number"),
)
_RESOURCES = (
    *LIMITS,
    many("blkio-weight-device", "Share of one block device", value="/dev/name:weight"),
    Flag("cgroup-parent", "Control group that holds the container's", value="path"),
    many("device-cgroup-rule", "Allow devices: a rule of the devices controller", value="rule"),
    *(many(f"device-{way}-bps", f"Bytes in a second to {way} at most", value="/dev/name:rate") for way in ("read", "write")),
    *(many(f"device-{way}-iops", f"Operations in a second to {way} at most", value="/dev/name:rate") for way in ("read", "write")),
    Flag("memory-swappiness", "How readily memory is swapped, 0 to 100 (cgroup version 1)", value="percent"),
    switch("oom-kill-disable", "Stop instead of being killed when memory ends (cgroup version 1)"),
    Flag("oom-score-adj", "Who is killed first when memory ends (-1000 to 1000)", value="score"),
)
_NETWORK = (
    many("add-host", "Add a line to /etc/hosts", value="host:ip"),
    many("dns", "Name server", value="ip"),
    many("dns-option", "Option of resolv.conf(5)", value="option", aliases=("dns-opt",)),
    many("dns-search", "Search domain", value="domain"),
    Flag("domainname", "NIS domain name"),
    many("expose", "Note a port in the container's description", value="port"),
    Flag("hostname", "Host name", short="h"),
    Flag("network", "none (default) or host", value="network", aliases=("net",)),
    many("publish", "Publish a port", short="p", refused=_NO_NETWORK),
)
# Docker's flags that estiba knows and does not offer, or that mean nothing here.
_OTHERS = (
    switch("disable-content-trust", "", default=True, ignored="signatures of the Notary are not checked"),
    Flag("gpus", "", refused="there is no support for GPUs; --device gives a device"),
    Flag("runtime", "estiba: there is no other", value="name"),
    switch("publish-all", "", short="P", refused=_NO_NETWORK),
    *(Flag(name, "", refused=_NO_NETWORK) for name in ("ip", "ip6", "mac-address")),
    many("network-alias", "", aliases=("net-alias",), refused=_NO_NETWORK),
    many("storage-opt", "", refused="the size of the root file system cannot be limited yet"),
    Flag("volume-driver", "local: there is no other", value="name"),
    many("link", "", ignored="containers are not linked"),
    many("link-local-ip", "", ignored="a container has no network yet"),
    *(Flag(f"cpu-rt-{what}", "", ignored="real-time limits are of cgroup v1 only") for what in ("period", "runtime")),
    *(Flag(name, "", ignored=_WINDOWS) for name in ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")),
    switch("use-api-socket", "", ignored="there is no API socket"),
)


def options_from(found: Invocation) -> RunOptions:
    """The options that the command line means.

    Raises InvalidArgument for a value that a flag does not take.
    """
    image, *command = found.arguments
    if not image:
        raise InvalidArgument("cannot run an image without a name", hint="estiba run [OPTIONS] IMAGE [COMMAND] [ARG...]")
    options = RunOptions(image, command)
    options.environ = os.environ
    for name, value in found.values.items():
        if name in SWITCHES:
            setattr(options, SWITCHES[name], value)
        elif name in PARSERS:
            for text in value if isinstance(value, list) else [str(value)]:
                PARSERS[name](options, text)
    if found.values.get("no-healthcheck"):  # of verbs that have the flag: a disk and a bundle have none
        no_healthcheck(options)
    check(options)
    return options


def _run(context: Context, found: Invocation) -> int:
    options = options_from(found)

    from estiba.engine.run import run

    def progress() -> Quiet:
        from estiba.cli.progress import progress_for

        return progress_for(quiet=options.quiet)

    return run(context.store, context.settings, options, progress=progress, write=output.raw)


SECTIONS = {
    "Container": _CONTAINER,
    "Image": _IMAGE,
    "Process": _PROCESS,
    "Files": _FILES,
    "Health": _HEALTH,
    "Isolation": _ISOLATION,
    "Resources": _RESOURCES,
    "Network": _NETWORK,
    "Other": _OTHERS,
}
COMMAND = Command(
    "run",
    "Create and run a container from an image",
    _run,
    usage="IMAGE [COMMAND] [ARG...]",
    sections=SECTIONS,
    about="""The exit code is the program's own, or 128+n when signal n ended it; 127 when the program is not in the image, 126
    when it cannot be executed, 125 when the container could not be made.""",
    examples=[
        ("estiba run hello", "the built-in image"),
        ("estiba run --rm -it alpine sh", "a shell"),
        ("estiba run -d --name web app", "in the background; estiba ps, logs, stop, rm"),
        ("estiba run --rm -v $PWD:/src -w /src alpine ls -l", "work on a folder of the host"),
        ("estiba run --rm --platform linux/arm64 alpine uname -m", "an image of another machine, by qemu-user"),
        ("estiba run --rm --with busybox-tools app sh", "an image without a shell, with the tools of another"),
        ("estiba run --explain hello", "what was done, and how long each step took"),
    ],
    aliases=("container run",),
    least=1,
    most=None,
    flags_end=1,
    failure=125,
    complete="image",
)
