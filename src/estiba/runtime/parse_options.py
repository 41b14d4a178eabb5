"""Strings of the command line to values of `RunOptions`, strictly.

Every function raises InvalidArgument whose message names the flag and the text, and whose hint names the valid values or the
nearest one. Numbers are ASCII digits only: int() also takes spaces, underscores and digits of other scripts.
This module is on the start path of ``run``: it imports the error tree and its neighbours only.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument, NotImplemented
from estiba.oci.user import parse_user
from estiba.runtime import capabilities, parse_limits
from estiba.runtime.options import Device
from estiba.runtime.parse_lifecycle import HEALTH, attach, restart, runtime, volume_driver
from estiba.runtime.parse_limits import UNLIMITED
from estiba.runtime.parse_streams import log_driver, log_option, set_detach_keys
from estiba.runtime.parse_values import (
    choice,
    key_value,
    nearest,
    nothing_unprintable,
    refuse,
    size,
    whole,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.runtime.options import RunOptions

# setrlimit(2), by the names that ulimit and Docker use (linux: asm-generic/resource.h).
RLIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}

# signal(7) of x86_64 and aarch64, which agree.
_SIGNAL_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ "
    "VTALRM PROF WINCH IO PWR SYS"
).split()
_LAST_SIGNAL = 64
_FIRST_REAL_TIME_SIGNAL = 34  # 32 and 33 are the C library's (signal(7))

_NAME_LIMIT = 128


def name(options: RunOptions, text: str) -> None:
    """--name: [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 128 characters."""
    if not is_name(text):
        raise InvalidArgument(
            f"cannot use --name {text[:140]!r}: not a name for a container",
            hint="letters, digits, '_', '.' and '-', two to 128 of them, a letter or digit first",
        )
    options.name = text


def is_name(text: str) -> bool:
    """Tells whether `text` may name a container."""
    rest = text.replace("_", "").replace(".", "").replace("-", "")
    return 2 <= len(text) <= _NAME_LIMIT and text.isascii() and text[0].isalnum() and (rest.isalnum() or not rest)


def workdir(options: RunOptions, text: str) -> None:
    """-w: an absolute path in the container."""
    if not text.startswith("/") or "\0" in text:
        raise refuse("--workdir", text, "not an absolute path")
    options.workdir = text


def user(options: RunOptions, text: str) -> None:
    """-u: name|uid[:group|gid]."""
    parse_user(text)
    options.user = text


def hostname(options: RunOptions, text: str) -> None:
    """--hostname: labels of letters, digits and hyphens, 64 characters in all (sethostname(2))."""
    labels = text.split(".")
    if len(text) > 64 or not all(_is_label(label) for label in labels):
        raise refuse("--hostname", text, "not a host name of at most 64 characters")
    options.hostname = text


def _is_label(label: str) -> bool:
    bare = label.replace("-", "").replace("_", "")
    return label.isascii() and 0 < len(label) <= 63 and bare.isalnum() and label[0] != "-" and label[-1] != "-"


def domainname(options: RunOptions, text: str) -> None:
    """--domainname (setdomainname(2))."""
    if not text or len(text) > 64 or not all(_is_label(label) for label in text.split(".")):
        raise refuse("--domainname", text, "not a domain name of at most 64 characters")
    options.domainname = text


def env(options: RunOptions, text: str) -> None:
    """-e NAME=VALUE, or NAME to take the caller's value."""
    if not text or text.startswith("=") or "\0" in text:
        raise refuse("--env", text, "no variable name")
    options.env.append(text)


def label(options: RunOptions, text: str) -> None:
    """-l KEY=VALUE, or KEY for an empty value."""
    key, _, value = text.partition("=")
    if not key or "\0" in text:
        raise refuse("--label", text, "no key")
    options.labels[key] = value


def annotation(options: RunOptions, text: str) -> None:
    """--annotation KEY=VALUE (runtime-spec, config.md#annotations)."""
    key, value = key_value("--annotation", text)
    if key.startswith("org.estiba."):
        raise refuse("--annotation", text, "org.estiba. is reserved")
    options.annotations[key] = value


def volume(options: RunOptions, text: str) -> None:
    """-v SOURCE:TARGET[:OPTIONS]."""
    from estiba.runtime.parse_mounts import parse_volume  # as the next two: a run without mounts needs none of it

    options.mounts.append(parse_volume(text))


def mount(options: RunOptions, text: str) -> None:
    """--mount type=bind,source=...,target=...."""
    from estiba.runtime.parse_mounts import parse_mount

    options.mounts.append(parse_mount(text))


def tmpfs(options: RunOptions, text: str) -> None:
    """--tmpfs TARGET[:OPTIONS]."""
    from estiba.runtime.parse_mounts import parse_tmpfs

    options.mounts.append(parse_tmpfs(text))


def cap_add(options: RunOptions, text: str) -> None:
    """--cap-add."""
    options.cap_add += [capabilities.normalise(part) for part in text.split(",")]


def cap_drop(options: RunOptions, text: str) -> None:
    """--cap-drop."""
    options.cap_drop += [capabilities.normalise(part) for part in text.split(",")]


_SECURITY_OPTIONS = ("no-new-privileges", "seccomp=unconfined", "seccomp=FILE", "systempaths=unconfined")


def security_opt(options: RunOptions, text: str) -> None:
    """--security-opt, with = or (as Docker still takes) : between key and value."""
    key, separator, value = text.partition("=" if "=" in text else ":")
    if key == "no-new-privileges":
        options.no_new_privileges = not separator or choice("--security-opt no-new-privileges", value, ("true", "false")) == "true"
    elif key == "seccomp" and value:
        options.seccomp = None if value == "builtin" else value
    elif key == "systempaths" and value == "unconfined":
        options.unmasked = True
    elif key in ("apparmor", "label") and value in ("unconfined", "disable"):
        return  # no such confinement is applied, so there is nothing to switch off
    elif key in ("apparmor", "label"):
        raise NotImplemented(f"cannot apply --security-opt {text!r}: profiles of {key} are not offered")
    else:
        raise refuse("--security-opt", text, "unknown option", hint=nearest(text, _SECURITY_OPTIONS))


def device(options: RunOptions, text: str) -> None:
    """--device SOURCE[:TARGET][:PERMISSIONS]."""
    parts = text.split(":")
    source = parts[0]
    target, permissions = source, "rwm"
    if len(parts) == 2 and not parts[1].startswith("/"):
        permissions = parts[1]
    elif len(parts) >= 2:
        target = parts[1]
        permissions = parts[2] if len(parts) == 3 else "rwm"
    clean = source.startswith("/dev/") and target.startswith("/") and ".." not in target.split("/") and "\0" not in text
    if len(parts) > 3 or not clean or not permissions or set(permissions) - set("rwm"):
        raise refuse("--device", text, "not a device", hint="/dev/NAME[:/dev/NAME][:rwm]")
    options.devices.append(Device(source, target, permissions))


def ulimit(options: RunOptions, text: str) -> None:
    """--ulimit NAME=SOFT[:HARD]; -1 and unlimited mean no limit."""
    kind, separator, values = text.partition("=")
    if kind not in RLIMITS:
        raise refuse("--ulimit", text, "unknown limit", hint=nearest(kind, tuple(RLIMITS)))
    soft, _, hard = values.partition(":")
    if not separator or not soft:
        raise refuse("--ulimit", text, "no value", hint=f"{kind}=SOFT[:HARD]")
    low = _limit(text, soft)
    high = _limit(text, hard) if hard else low
    if high != UNLIMITED and (low == UNLIMITED or low > high):
        raise refuse("--ulimit", text, "the soft limit is above the hard limit")
    options.ulimits[kind] = (low, high)


def _limit(text: str, number: str) -> int:
    if number in ("-1", "unlimited"):
        return UNLIMITED
    return whole("--ulimit", number, 0, (1 << 63) - 1, shown=text)


def shm_size(options: RunOptions, text: str) -> None:
    """--shm-size."""
    options.shm_size = size("--shm-size", text, minimum=4096)


def oom_score_adj(options: RunOptions, text: str) -> None:
    """--oom-score-adj: -1000 to 1000."""
    number = -whole("--oom-score-adj", text[1:], 0, 1000, shown=text) if text.startswith("-") else whole("--oom-score-adj", text, 0, 1000)
    options.oom_score_adj = number


def network(options: RunOptions, text: str) -> None:
    """--network: none and host, until there are networks."""
    if text in ("bridge", "default") or text.startswith("container:"):
        raise NotImplemented(f"cannot use --network {text}: networks are not offered yet", hint="use none or host")
    options.network = choice("--network", text, ("none", "host"))


def pid(options: RunOptions, text: str) -> None:
    """--pid."""
    options.pid = "host" if _namespace("--pid", text) else "private"


def ipc(options: RunOptions, text: str) -> None:
    """--ipc."""
    options.ipc = "host" if _namespace("--ipc", text) else "private"


def uts(options: RunOptions, text: str) -> None:
    """--uts."""
    options.uts = "host" if _namespace("--uts", text) else "private"


def cgroupns(options: RunOptions, text: str) -> None:
    """--cgroupns."""
    options.cgroupns = "host" if _namespace("--cgroupns", text) else "private"


def userns(options: RunOptions, text: str) -> None:
    """--userns: private, or host for root."""
    options.userns = "host" if _namespace("--userns", text) else "private"


def _namespace(flag: str, text: str) -> bool:
    if text.startswith("container:"):
        raise NotImplemented(f"cannot use {flag} {text}: joining a container is not offered yet", hint="use private or host")
    return choice(flag, text, ("private", "host", "")) == "host"


def isolation(options: RunOptions, text: str) -> None:
    """--isolation: container, para, partial, full or auto."""
    choice("--isolation", text, ("container", "para", "partial", "full", "auto"))
    options.isolation = text  # type: ignore[assignment]  # checked just now


def pull(options: RunOptions, text: str) -> None:
    """--pull: always, missing or never."""
    word = choice("--pull", text, ("always", "missing", "never"))
    options.pull = "always" if word == "always" else "never" if word == "never" else "missing"


def signal_number(text: str, flag: str = "--stop-signal") -> int:
    """Returns the number of a signal given as TERM, SIGTERM, 15 or RTMIN+3 (signal(7))."""
    if text.isdigit():
        return whole(flag, text, 1, _LAST_SIGNAL)
    word = text.upper().removeprefix("SIG")
    if word in _SIGNAL_NAMES:
        return _SIGNAL_NAMES.index(word) + 1
    for base, number, sign in (("RTMIN+", _FIRST_REAL_TIME_SIGNAL, 1), ("RTMAX-", _LAST_SIGNAL, -1)):
        if word.startswith(base):
            return number + sign * whole(flag, word[len(base) :], 0, _LAST_SIGNAL - _FIRST_REAL_TIME_SIGNAL, shown=text)
    if word in ("RTMIN", "RTMAX"):
        return _FIRST_REAL_TIME_SIGNAL if word == "RTMIN" else _LAST_SIGNAL
    raise refuse(flag, text, "not a signal", hint=nearest(word, tuple(_SIGNAL_NAMES)))


def stop_signal(options: RunOptions, text: str) -> None:
    """--stop-signal."""
    options.stop_signal = signal_number(text)


def stop_timeout(options: RunOptions, text: str) -> None:
    """--stop-timeout: seconds, -1 for ever."""
    options.stop_timeout = UNLIMITED if text == "-1" else whole("--stop-timeout", text, 0, 1 << 31)


def group_add(options: RunOptions, text: str) -> None:
    """--group-add: a group's name or number."""
    if ":" in text:
        raise refuse("--group-add", text, "not a group", hint="a name, or a number from 0 to 4294967294")
    parse_user(text)
    options.group_add.append(text)


# sysctl(8) names below which a name belongs to a namespace of the container (Docker's list, and user.* of ours).
_SYSCTLS = ("kernel.shm", "kernel.msg", "fs.mqueue.", "net.", "net/")


def sysctl(options: RunOptions, text: str) -> None:
    """--sysctl NAME=VALUE, for names that belong to a namespace."""
    key, value = key_value("--sysctl", text)
    plain = key.replace(".", "").replace("_", "").replace("-", "").replace("/", "")
    namespaced = key.startswith(_SYSCTLS) or key in ("kernel.sem", "kernel.domainname")
    if not (plain.isascii() and plain.isalnum()) or ".." in key or not namespaced or "\n" in value:
        raise refuse("--sysctl", text, "not a sysctl of a namespace", hint="net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*")
    options.sysctls[key] = value


def emulate(options: RunOptions, text: str) -> None:
    """--emulate PART,...: cpu, disk, net, console, firmware."""
    for part in text.split(","):
        choice("--emulate", part, ("cpu", "disk", "net", "console", "firmware"))
    options.emulate = ",".join(filter(None, (options.emulate, text)))


def add_host(options: RunOptions, text: str) -> None:
    """--add-host NAME:ADDRESS or NAME=ADDRESS."""
    host, _, address = text.partition("=" if "=" in text else ":")
    address = address.removeprefix("[").removesuffix("]")
    if not host or not all(_is_label(part) for part in host.split(".")):
        raise refuse("--add-host", text, "not a host name", hint="NAME:ADDRESS")
    if address != "host-gateway":
        check_address("--add-host", address, text)
    options.add_hosts.append((host, address))


def dns(options: RunOptions, text: str) -> None:
    """--dns ADDRESS."""
    check_address("--dns", text, text)
    options.dns.append(text)


def dns_search(options: RunOptions, text: str) -> None:
    """--dns-search DOMAIN; "." alone empties the list (resolv.conf(5))."""
    if text != "." and not all(_is_label(part) for part in text.removesuffix(".").split(".")):
        raise refuse("--dns-search", text, "not a domain")
    options.dns_search.append(text)


def dns_option(options: RunOptions, text: str) -> None:
    """--dns-option, a word of resolv.conf(5)'s options."""
    nothing_unprintable("--dns-option", text)
    options.dns_options.append(text)


def check_address(flag: str, address: str, shown: str) -> None:
    """Refuses what is not an IPv4 or IPv6 address."""
    fields = address.split(".")
    if len(fields) == 4 and all(field.isascii() and field.isdigit() and int(field) < 256 and len(field) < 4 for field in fields):
        return
    if ":" in address and not _is_ipv6(address):
        raise refuse(flag, shown, "not an IP address")
    if ":" not in address:
        raise refuse(flag, shown, "not an IP address")


def _is_ipv6(address: str) -> bool:
    import ipaddress  # rare: only where an IPv6 address is given

    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def volumes_from(options: RunOptions, text: str) -> None:
    """--volumes-from CONTAINER[:ro|rw]."""
    container, separator, mode = text.partition(":")
    if not container:
        raise refuse("--volumes-from", text, "no container")
    read_only = bool(separator) and choice("--volumes-from", mode, ("ro", "rw")) == "ro"
    options.volumes_from.append((container, read_only))


def publish(options: RunOptions, text: str) -> None:
    """-p is understood and refused: there are no networks yet."""
    raise NotImplemented(f"cannot publish {text}: a container has no network yet", hint="use --network host, whose ports are the host's")


def _text(attribute: str) -> Callable[[RunOptions, str], None]:
    def store(options: RunOptions, text: str) -> None:
        nothing_unprintable("--" + attribute.replace("_", "-"), text)
        setattr(options, attribute, text)

    return store


def _append(attribute: str) -> Callable[[RunOptions, str], None]:
    def store(options: RunOptions, text: str) -> None:
        getattr(options, attribute).append(text)

    return store


def entrypoint(options: RunOptions, text: str) -> None:
    """--entrypoint: a program; empty drops the image's."""
    if "\0" in text:
        raise refuse("--entrypoint", text, "holds a NUL")
    options.entrypoint = text


# Every flag that takes a value, by its long name without dashes: parser(options, text).
PARSERS: dict[str, Callable[[RunOptions, str], None]] = {
    **parse_limits.PARSERS,
    "add-host": add_host,
    "annotation": annotation,
    "attach": attach,
    "cap-add": cap_add,
    "cap-drop": cap_drop,
    "cgroupns": cgroupns,
    "cidfile": _text("cidfile"),
    "detach-keys": set_detach_keys,
    "device": device,
    "dns": dns,
    "dns-option": dns_option,
    "dns-search": dns_search,
    "domainname": domainname,
    "entrypoint": entrypoint,
    "env": env,
    "env-file": _append("env_files"),
    "expose": _append("expose"),
    "group-add": group_add,
    **HEALTH,
    "hostname": hostname,
    "ipc": ipc,
    "isolation": isolation,
    "kernel": _text("kernel"),
    "emulate": emulate,
    "label": label,
    "label-file": _append("label_files"),
    "log-driver": log_driver,
    "log-opt": log_option,
    "mount": mount,
    "name": name,
    "network": network,
    "oom-score-adj": oom_score_adj,
    "pid": pid,
    "platform": _text("platform"),
    "publish": publish,
    "pull": pull,
    "restart": restart,
    "runtime": runtime,
    "security-opt": security_opt,
    "shm-size": shm_size,
    "stop-signal": stop_signal,
    "stop-timeout": stop_timeout,
    "sysctl": sysctl,
    "tmpfs": tmpfs,
    "ulimit": ulimit,
    "user": user,
    "userns": userns,
    "uts": uts,
    "volume": volume,
    "volume-driver": volume_driver,
    "volumes-from": volumes_from,
    "with": _append("with_images"),
    "workdir": workdir,
}

# Every flag that is on or off, and its attribute.
SWITCHES = {
    "detach": "detach",
    "dry-run": "dry_run",
    "explain": "explain",
    "init": "init",
    "interactive": "interactive",
    "oom-kill-disable": "oom_kill_disable",
    "privileged": "privileged",
    "quiet": "quiet",
    "read-only": "read_only",
    "rm": "rm",
    "sig-proxy": "sig_proxy",
    "snapshot": "snapshot",
    "tty": "tty",
}


def apply(options: RunOptions, flag: str, text: str) -> None:
    """Sets what the flag `flag` (long name, no dashes) with value `text` means."""
    PARSERS[flag](options, text)
