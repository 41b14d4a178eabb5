"""Values of `run`'s flags: what is read, and what is refused with the valid values or the nearest word."""

from __future__ import annotations

import pytest

from estiba import errors
from estiba.errors import InvalidArgument
from estiba.runtime import capabilities, parse_options
from estiba.runtime.options import MountRequest, RunOptions


def parsed(flag: str, *texts: str) -> RunOptions:
    options = RunOptions("image")
    for text in texts:
        parse_options.apply(options, flag, text)
    return options


@pytest.mark.parametrize(
    ("flag", "text", "attribute", "value"),
    [
        ("memory", "6m", "memory", 6 << 20),
        ("memory", "1.5g", "memory", 3 << 29),
        ("memory", "512MiB", "memory", 512 << 20),
        ("memory", "1000000000", "memory", 10**9),
        ("memory-swap", "-1", "memory_swap", -1),
        ("cpus", "1.5", "nano_cpus", 1_500_000_000),
        ("cpus", "0.01", "nano_cpus", 10_000_000),
        ("pids-limit", "-1", "pids_limit", -1),
        ("pids-limit", "0", "pids_limit", -1),
        ("shm-size", "1m", "shm_size", 1 << 20),
        ("oom-score-adj", "-1000", "oom_score_adj", -1000),
        ("cpuset-cpus", "0-2,4", "cpuset_cpus", "0-2,4"),
        ("user", "app:1000", "user", "app:1000"),
        ("stop-signal", "SIGTERM", "stop_signal", 15),
        ("stop-signal", "rtmin+3", "stop_signal", 37),
        ("stop-signal", "64", "stop_signal", 64),
        ("network", "host", "network", "host"),
        ("pull", "never", "pull", "never"),
        ("name", "a_b-c.9", "name", "a_b-c.9"),
        ("workdir", "/a", "workdir", "/a"),
        ("hostname", "a-b.example", "hostname", "a-b.example"),
        ("userns", "host", "userns", "host"),
    ],
)
def test_scalar(flag: str, text: str, attribute: str, value: object) -> None:
    assert getattr(parsed(flag, text), attribute) == value


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("memory", "1"), ("memory", "5m"), ("memory", "1x"), ("memory", "-1"), ("memory", "\u0663g"), ("memory", "1_0g"), ("memory", "9e9"),
        ("memory", "99999999999999999999999"), ("cpus", "0"), ("cpus", "nan"), ("cpus", "inf"), ("cpus", "-1"), ("cpus", "1."),
        ("pids-limit", "many"), ("pids-limit", "-2"), ("name", ""), ("name", "a" * 300), ("name", "../x"), ("name", "-a"),
        ("name", "n\u0430me"), ("name", "x"), ("user", "\u0663"), ("user", "4294967296"), ("user", "a:b:c"), ("user", ""), ("ulimit", "nofile=a"),
        ("ulimit", "nofiles=1"), ("ulimit", "nofile=5:4"), ("ulimit", "nofile"), ("ulimit", "nofile=-1:4"), ("sysctl", "x"),
        ("sysctl", "vm.swappiness=1"), ("sysctl", "net.a/../../b=1"), ("sysctl", "kernel.hostname=x"), ("cap-add", "FOO"),
        ("security-opt", "foo"), ("security-opt", "no-new-privileges=maybe"), ("stop-signal", "99"), ("stop-signal", "0"),
        ("stop-signal", "TREM"), ("network", "nope"), ("pid", "nope"), ("pull", "maybe"), ("workdir", "rel"), ("hostname", "a b"),
        ("hostname", "-a"), ("hostname", "a" * 65), ("env", "=a"), ("env", ""), ("label", "=x"), ("annotation", "org.estiba.x=1"),
        ("device", "/etc/passwd"), ("device", "/dev/x:/dev/y:z"), ("device", "/dev/x:/a/../b"), ("group-add", "a:b"),
        ("oom-score-adj", "1001"), ("oom-score-adj", "-"), ("cpuset-cpus", "3-1"), ("cpuset-cpus", "a"), ("shm-size", "1"),
        ("add-host", "a"), ("add-host", "a:1.2.3"), ("add-host", "a b:1.2.3.4"), ("add-host", "a:::g"), ("dns", "1.2.3.256"), ("dns", "x\ny"),
        ("dns-search", "a b"), ("dns-option", "a\nb"), ("detach-keys", "ctrl-p,qq"), ("detach-keys", "ctrl-1"),
        ("detach-keys", "\u00e9"), ("detach-keys", "a,,b"), ("detach-keys", ",".join("a" * 17)), ("log-driver", "file"), ("log-opt", "max-size"),
        ("log-opt", "max-size=1"), ("log-opt", "max-size=-2"), ("log-opt", "max-size=1x"), ("log-opt", "max-file=0"), ("log-opt", "max-files=1"), ("volumes-from", ":ro"), ("volumes-from", "x:rx"),
        ("cpu-period", "999"), ("stop-timeout", "-2"),
    ],
)  # fmt: skip
def test_refused(flag: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parsed(flag, text)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    ("flag", "text", "hint"),
    [
        ("cap-add", "NETADMIN", "did you mean NET_ADMIN?"),
        ("stop-signal", "TREM", "did you mean TERM?"),
        ("ulimit", "nofiles=1", "did you mean nofile?"),
        ("volume", "/a:/b:rx", "valid values: "),
        ("pull", "sometimes", "valid values: always, missing, never"),
    ],
)
def test_hint_names_the_nearest_word_or_all(flag: str, text: str, hint: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parsed(flag, text)
    assert (caught.value.hint or "").startswith(hint)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("publish", "80:80"), ("network", "bridge"), ("network", "container:x"), ("pid", "container:x"), ("volume", "data:/x"),
        ("mount", "type=volume,src=data,dst=/x"), ("mount", "type=image,dst=/x"), ("security-opt", "apparmor=mine"),
        ("log-driver", "journald"), ("log-opt", "mode=non-blocking"),
    ],
)  # fmt: skip
def test_understood_but_not_offered(flag: str, text: str) -> None:
    with pytest.raises(errors.NotImplemented):
        parsed(flag, text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("", b"\x10\x11"), ("ctrl-@,ctrl-[,ctrl-_", b"\0\x1b\x1f"), ("a,B,%", b"aB%"), ("ctrl-X,y,DEL", b"\x18y\x7f")],
)
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parsed("detach-keys", text).detach_keys == keys


def test_log_options() -> None:
    options = RunOptions("x")
    assert (options.log.driver, options.log.max_size, options.log.max_file) == ("cri", 10 << 20, 3)
    for driver in ("none", "local", "json-file", "cri"):
        parse_options.apply(options, "log-driver", driver)
        assert options.log.driver == ("none" if driver == "none" else "cri")
    for text in ("max-size=20k", "max-file=5", "labels=a,b", "env=HOME"):
        parse_options.apply(options, "log-opt", text)
    assert (options.log.max_size, options.log.max_file, options.log.labels, options.log.env) == (20480, 5, ["a", "b"], ["HOME"])
    parse_options.apply(options, "log-opt", "max-size=-1")
    assert options.log.max_size == 0


def only_mount(options: RunOptions) -> MountRequest:
    (mount,) = options.mounts
    return mount


def test_volume() -> None:
    mount = only_mount(parsed("volume", "/src:/a//b/:ro,rslave"))
    assert (mount.type, mount.source, mount.target, mount.read_only, mount.propagation) == ("bind", "/src", "/a/b", True, "rslave")
    anonymous = only_mount(parsed("volume", "/data"))
    assert (anonymous.type, anonymous.source, anonymous.target) == ("volume", "", "/data")


@pytest.mark.parametrize("text", ["rel:/x", "./a:/x", "/a:/b:c:d", "/x:rel", "/x:/", "/x:/a/../..", "/x:", ":/x", "/x:/:ro", "x:/:ro"])
def test_volume_refused(text: str) -> None:
    with pytest.raises(errors.EstibaError, match="--volume"):
        parsed("volume", text)


def test_mount_keys() -> None:
    mount = only_mount(parsed("mount", 'type=bind,"src=/a,b",dst=/x,readonly,bind-propagation=rshared,bind-recursive=writable'))
    assert (mount.source, mount.target, mount.read_only, mount.propagation) == ("/a,b", "/x", True, "rshared")
    assert (mount.recursive, mount.recursive_read_only) == (True, False)
    tmpfs = only_mount(parsed("mount", "type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=0700"))
    assert (tmpfs.type, tmpfs.size, tmpfs.mode) == ("tmpfs", 1 << 20, 0o700)


@pytest.mark.parametrize(
    "text",
    ["type=bind,src=/a", "type=bind,src=a,dst=/b", "type=bind,src=/a,dst=/b,size=1", "type=bind,src=/a,src=/b,dst=/c", "type=nope,dst=/x",
     'type=bind,"src=/a,dst=/b', "type=tmpfs,dst=/x,tmpfs-mode=9"],
)  # fmt: skip
def test_mount_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--mount"):
        parsed("mount", text)


def test_tmpfs() -> None:
    mount = only_mount(parsed("tmpfs", "/t:size=8k,mode=1770,exec,ro"))
    assert (mount.size, mount.mode, mount.executable, mount.read_only) == (8192, 0o1770, True, True)
    assert not only_mount(parsed("tmpfs", "/t")).executable


def test_device() -> None:
    first, second, third = parsed("device", "/dev/a", "/dev/a:r", "/dev/a:/dev/b:rw").devices
    assert (first.target, first.permissions) == ("/dev/a", "rwm")
    assert (second.target, second.permissions) == ("/dev/a", "r")
    assert (third.target, third.permissions) == ("/dev/b", "rw")


def test_security_options() -> None:
    assert parsed("security-opt", "no-new-privileges").no_new_privileges
    assert not parsed("security-opt", "no-new-privileges=false").no_new_privileges
    assert parsed("security-opt", "seccomp:/a/b").seccomp == "/a/b"
    assert parsed("security-opt", "seccomp=unconfined").seccomp == "unconfined"
    assert parsed("security-opt", "systempaths=unconfined").unmasked


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), set(capabilities.DEFAULT)),
        (("NET_RAW",), (), {*capabilities.DEFAULT, "CAP_NET_RAW"}),
        ((), ("chown",), set(capabilities.DEFAULT) - {"CAP_CHOWN"}),
        ((), ("ALL",), set()),
        (("CHOWN",), ("ALL",), {"CAP_CHOWN"}),
        (("ALL",), ("SYS_ADMIN",), set(capabilities.NAMES) - {"CAP_SYS_ADMIN"}),
        (("CHOWN",), ("CHOWN",), set(capabilities.DEFAULT) - {"CAP_CHOWN"}),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]) -> None:
    options = parsed("cap-add", *add)
    for text in drop:
        parse_options.apply(options, "cap-drop", text)
    assert set(capabilities.effective(options.cap_add, options.cap_drop, privileged=False)) == expected
    assert capabilities.effective(options.cap_add, options.cap_drop, privileged=True) == list(capabilities.NAMES)


def test_default_capabilities_as_a_mask() -> None:
    assert capabilities.mask(capabilities.DEFAULT) == 0x800405FB
    assert capabilities.mask(capabilities.NAMES) == capabilities.ALL


def test_every_parser_and_switch_is_of_an_attribute() -> None:
    options = RunOptions("image")
    assert all(isinstance(getattr(options, attribute), bool) for attribute in parse_options.SWITCHES.values())
    assert not set(parse_options.PARSERS) & set(parse_options.SWITCHES)
