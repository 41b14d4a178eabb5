"""Image configuration + options + facts -> runtime spec -> plan: both pure, so both are looked at without a kernel."""

from __future__ import annotations

from typing import Any

import pytest

from estiba.errors import EstibaError, FailedPrecondition, InvalidArgument, NoCommand, PermissionDenied
from estiba.linux.cgroup import Host
from estiba.linux.facts import HostFacts
from estiba.linux.idmap import IdMaps
from estiba.oci.image_config import ImageConfig
from estiba.plan.encode import encode
from estiba.plan.ops import NAMES
from estiba.runtime import parse_options
from estiba.runtime.compile import Bindings, compile_plan
from estiba.runtime.mounts import MASKED_PATHS
from estiba.runtime.options import RunOptions
from estiba.runtime.spec import INIT, NESTED, USER, build_spec

RANGE = IdMaps("root-range", ((0, 1879048192, 65536),), ((0, 1879048192, 65536),))
SINGLE = IdMaps("single", ((0, 1000, 1),), ((0, 1000, 1),), setgroups=0)


def facts(**changes: Any) -> HostFacts:
    given: dict[str, Any] = {
        "uid": 0,
        "maps": RANGE,
        "cgroups": Host({"pids": "/c/pids", "memory": "/c/memory"}, {}),
        "cpus": 2,
        "rlimits": dict.fromkeys(range(16), -1) | {7: 4096},
    }
    return HostFacts(**given | changes)


def options(*words: tuple[str, str], **attributes: Any) -> RunOptions:
    made = RunOptions("image", ["true"])
    for flag, text in words:
        parse_options.apply(made, flag, text)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def config(**attributes: Any) -> ImageConfig:
    made = ImageConfig()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def plan(spec: dict[str, Any], maps: IdMaps = RANGE, **attributes: Any) -> list[str]:
    """The plan's operations, each as its name and the arguments that matter, in words."""
    bindings = Bindings(maps)
    bindings.layers, bindings.upper, bindings.lowers = bindings.add(3, "/layers"), bindings.add(4, "/c"), ["a/fs"]
    bindings.seccomp = b"\6\0\0\0\0\0\0\0"
    for name, value in attributes.items():
        setattr(bindings, name, value)
    operations = compile_plan(spec, bindings)
    assert encode(operations)
    return [" ".join([NAMES[op[0]], *(str(word) for word in op[1:])]) for op in operations if isinstance(op[0], int)]


def position(words: list[str], beginning: str) -> int:
    return next(number for number, line in enumerate(words) if line.startswith(beginning))


# --- process ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "entrypoint", "command", "expected"),
    [
        ({"cmd": ["a", "b"]}, None, (), ["a", "b"]),
        ({"cmd": ["a"], "entrypoint": ["e", "-x"]}, None, (), ["e", "-x", "a"]),
        ({"cmd": ["a"], "entrypoint": ["e"]}, None, ("c",), ["e", "c"]),
        ({"cmd": ["a"], "entrypoint": ["e"]}, "f", ("c",), ["f", "c"]),
        ({"cmd": ["a"], "entrypoint": ["e"]}, "f", (), ["f"]),
        ({"cmd": ["a"], "entrypoint": ["e"]}, "", ("c",), ["c"]),
    ],
)
def test_arguments(image: dict[str, Any], entrypoint: str | None, command: tuple[str, ...], expected: list[str]) -> None:
    spec = build_spec(config(**image), options(entrypoint=entrypoint, command=command), facts())
    assert spec["process"]["args"] == expected


@pytest.mark.parametrize(("image", "entrypoint"), [({}, None), ({"cmd": ["a"], "entrypoint": ["e"]}, "")])
def test_no_command(image: dict[str, Any], entrypoint: str | None) -> None:
    with pytest.raises(NoCommand, match="no command"):
        build_spec(config(**image), options(entrypoint=entrypoint, command=()), facts())


def test_environment() -> None:
    asked = options(
        ("env", "A=flag"), ("env", "TAKEN"), ("env", "GONE"), ("env", "EMPTY="), environ={"TAKEN": "host", "B": "never"}, hostname="h"
    )
    environment = build_spec(config(env=["A=image", "B=image", "GONE=x", "PATH=/p"]), asked, facts())["process"]["env"]
    assert environment == ["PATH=/p", "HOSTNAME=h", "A=flag", "B=image", "TAKEN=host", "EMPTY="]


def test_user_of_image_and_option() -> None:
    spec = build_spec(config(user="app:9"), options(), facts())
    assert (spec["process"]["user"]["uid"], spec["annotations"][USER]) == (0, "app:9")
    spec = build_spec(config(user="app"), options(("user", "5:6"), ("group-add", "7"), ("group-add", "wheel")), facts())
    assert spec["process"]["user"] == {"uid": 5, "gid": 6, "umask": 0o022, "additionalGids": [7]}
    assert "user 5:6 ['7', 'wheel'] 18 1" in plan(spec)


def test_limits_are_the_lesser_of_ours_and_the_hosts() -> None:
    limits = {limit["type"]: (limit["soft"], limit["hard"]) for limit in build_spec(config(), options(), facts())["process"]["rlimits"]}
    assert limits == {
        "RLIMIT_CORE": (0, 0), "RLIMIT_NOFILE": (1024, 4096), "RLIMIT_MEMLOCK": (8 << 20, 8 << 20), "RLIMIT_NPROC": (2048, 2048),
    }  # fmt: skip


def test_a_limit_above_the_hosts_is_refused_when_it_was_asked_for() -> None:
    with pytest.raises(FailedPrecondition, match="its hard limit here is 4096"):
        build_spec(config(), options(("ulimit", "nofile=5000")), facts())
    spec = build_spec(config(), options(("ulimit", "nofile=10:20"), ("ulimit", "core=-1")), facts())
    assert {"type": "RLIMIT_CORE", "soft": (1 << 64) - 1, "hard": (1 << 64) - 1} in spec["process"]["rlimits"]


# --- resources and namespaces ----------------------------------------------------------------------------------------------------


def test_process_limit_where_the_host_has_it() -> None:
    assert build_spec(config(), options(), facts())["linux"]["resources"] == {"pids": {"limit": 2048}}
    assert build_spec(config(), options(), facts(cgroups=Host({}, {})))["linux"]["resources"] == {}
    asked = build_spec(config(), options(("pids-limit", "5")), facts(cgroups=Host({}, {})))["linux"]["resources"]
    assert asked == {"pids": {"limit": 5}}, "what was asked for is in the spec, so that making its group fails with the reason"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"uts": "host", "hostname": "x"}, InvalidArgument, "--uts host"),
        ({"ipc": "host", "shm_size": 1 << 20}, InvalidArgument, "--shm-size"),
        ({"nano_cpus": 3 * 10**9}, InvalidArgument, "2 processors"),
        ({"nano_cpus": 10**9, "cpu_quota": 5000}, InvalidArgument, "--cpu-quota"),
        ({"memory": 64 << 20, "memory_swap": 32 << 20}, InvalidArgument, "--memory-swap"),
        ({"memory_swap": 32 << 20}, InvalidArgument, "--memory is not given"),
        ({"network": "host", "sysctls": {"net.core.somaxconn": "1"}}, InvalidArgument, "network namespace is the host's"),
        ({"ipc": "host", "sysctls": {"kernel.shmmax": "1"}}, InvalidArgument, "ipc namespace is the host's"),
    ],
)
def test_options_that_exclude_each_other(changes: dict[str, Any], kind: type[EstibaError], message: str) -> None:
    with pytest.raises(kind, match=message):
        build_spec(config(), options(**changes), facts())


def test_host_user_namespace_is_roots() -> None:
    spec = build_spec(config(), options(userns="host"), facts())
    assert "uidMappings" not in spec["linux"]
    assert not [line for line in plan(spec) if line.startswith("user_namespace") or "max_user_namespaces" in line]
    with pytest.raises(PermissionDenied, match="only root"):
        build_spec(config(), options(userns="host"), facts(uid=1000, maps=SINGLE))


def test_namespace_flags() -> None:
    assert f"namespaces {0x6E020000}" in plan(build_spec(config(), options(), facts()))
    words = plan(build_spec(config(), options(network="host", pid="host", ipc="host", uts="host", cgroupns="host"), facts()))
    assert f"namespaces {0x20000}" in words
    assert not [line for line in words if line.startswith(("hostname", "loopback"))]
    assert [line.split()[1] for line in words if line.startswith("host_bind /") and not line.startswith("host_bind /dev/")] == [
        "/proc",
        "/sys",
    ]


# --- mounts ------------------------------------------------------------------------------------------------------------------------


def test_order_of_mounts_is_standard_then_files_then_the_callers_by_depth() -> None:
    asked = options(("volume", "/b:/deep/er/still"), ("volume", "/a:/deep"), ("tmpfs", "/t"))
    words = plan(build_spec(config(), asked, facts()), binds={"/deep": 7, "/deep/er/still": 8}, files=[(9, "/etc/hosts")])
    order = [
        position(words, beginning)
        for beginning in ("overlay", "mount proc", "mount tmpfs /dev", "mount sysfs", "bind 9", "bind 7", "bind 8")
    ]
    assert order == sorted(order)
    assert position(words, "mount tmpfs /t") > position(words, "bind 9")


def test_binds_are_nosuid_nodev_and_what_else_was_asked() -> None:
    asked = options(("volume", "/a:/x:ro,rslave"), ("mount", "type=bind,src=/a,dst=/y,bind-recursive=disabled"))
    words = plan(build_spec(config(), asked, facts()), binds={"/x": 7, "/y": 8})
    assert f"bind 7 /x 7 1 {0x80000 | 0x4000}" in words
    assert f"bind 8 /y 6 0 {0x40000 | 0x4000}" in words


def test_a_bind_without_a_slot_is_never_made_by_path() -> None:
    with pytest.raises(ValueError, match="without a slot"):
        plan(build_spec(config(), options(("volume", "/etc:/x")), facts()))


@pytest.mark.parametrize("target", ["/proc", "/proc/sys"])
def test_nothing_is_mounted_in_proc(target: str) -> None:
    with pytest.raises(InvalidArgument, match="/proc is the container's own"):
        build_spec(config(), options(("tmpfs", target)), facts())


def test_one_path_holds_one_mount() -> None:
    with pytest.raises(InvalidArgument, match="two mounts name it"):
        build_spec(config(), options(("tmpfs", "/a"), ("volume", "/x:/a/")), facts())


def test_the_callers_mount_takes_the_place_of_ours() -> None:
    words = plan(build_spec(config(), options(("tmpfs", "/dev/shm:size=8k")), facts()))
    assert [line for line in words if "/dev/shm" in line] == ["mount tmpfs /dev/shm 14 ['size=8192', 'mode=1777']"]


def test_read_only_root_is_made_read_only_last() -> None:
    words = plan(build_spec(config(), options(read_only=True), facts()))
    assert position(words, "readonly_root") == position(words, "pivot") - 1
    assert "overlay 0 ['a/fs'] 1 0 0" in words
    assert "readonly_root" not in plan(build_spec(config(), options(), facts()))


def test_trees_of_an_outer_container_are_bound_and_no_sysctl_is_written() -> None:
    spec = build_spec(config(), options(), facts(own_proc=False, own_sys=False))
    words = plan(spec)
    assert [line.split()[1] for line in words if line.startswith("host_bind /") and not line.startswith("host_bind /dev/")] == [
        "/proc",
        "/sys",
    ]
    assert not [line for line in words if line.startswith("sysctl")]
    with pytest.raises(FailedPrecondition, match="sysctls"):
        build_spec(config(), options(("sysctl", "net.core.somaxconn=1")), facts(own_proc=False))


# --- privileges ----------------------------------------------------------------------------------------------------------------------


def test_masks_and_read_only_paths_come_before_the_pivot() -> None:
    words = plan(build_spec(config(), options(), facts()))
    masked = [line.split()[1] for line in words if line.startswith("mask ")]
    assert masked == list(MASKED_PATHS)
    assert position(words, "readonly /proc/sys") < position(words, "pivot")
    assert max(number for number, line in enumerate(words) if line.startswith("sysctl")) < position(words, "readonly /proc/sys")
    privileged = plan(build_spec(config(), options(privileged=True), facts()), binds={"/dev": 5})
    assert not [line for line in privileged if line.startswith(("mask", "readonly"))]
    assert not [line for line in plan(build_spec(config(), options(unmasked=True), facts())) if line.startswith(("mask", "readonly"))]


def test_filter_before_the_capabilities_go_and_with_no_new_privileges_last() -> None:
    words = plan(build_spec(config(), options(), facts()))
    order = [
        position(words, name)
        for name in ("pivot", "rlimit", "working_directory", "seccomp", "bounding", "user 0", "capabilities", "execute")
    ]
    assert order == sorted(order)
    assert "no_new_privileges" not in words
    words = plan(build_spec(config(), options(no_new_privileges=True), facts()))
    order = [position(words, name) for name in ("bounding", "user 0", "capabilities", "no_new_privileges", "seccomp", "execute")]
    assert order == sorted(order)


def test_nested_user_namespaces_are_off_but_for_privileged() -> None:
    spec = build_spec(config(), options(), facts())
    assert spec["annotations"][NESTED] == "false"
    assert "sysctl user/max_user_namespaces 0" in plan(spec)
    spec = build_spec(config(), options(privileged=True), facts())
    assert spec["annotations"][NESTED] == "true"
    assert "sysctl user/max_user_namespaces 0" not in plan(spec, binds={"/dev": 5})


def test_sysctl_names_become_paths() -> None:
    asked = options(("sysctl", "net.ipv4.ip_forward=1"), ("sysctl", "net/ipv4/conf/eth0.1/forwarding=1"))
    words = plan(build_spec(config(), asked, facts()))
    assert {"sysctl net/ipv4/ip_forward 1", "sysctl net/ipv4/conf/eth0.1/forwarding 1"} <= set(words)


def test_single_id_has_no_group_of_terminals() -> None:
    def terminals(maps: IdMaps) -> list[str]:
        mounts = build_spec(config(), options(), facts(maps=maps))["mounts"]
        return next(mount["options"] for mount in mounts if mount["type"] == "devpts")

    assert "gid=5" in terminals(RANGE)
    assert "gid=5" not in terminals(SINGLE)


def test_init_terminal_and_oom_score() -> None:
    spec = build_spec(config(), options(init=True, tty=True, oom_score_adj=-5), facts())
    assert spec["annotations"][INIT] == "true"
    words = plan(spec, window=(24, 80))
    assert {"streams 2 0 24 80", "console", "init", f"oom_score_adj {(1 << 64) - 5}"} <= set(words)
    assert position(words, "init") == position(words, "execute") - 1
