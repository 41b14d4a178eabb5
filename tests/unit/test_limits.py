"""Limits: flags -> linux.resources of the OCI spec -> files of both versions of control groups, all of it pure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from estiba.errors import FailedPrecondition, InvalidArgument
from estiba.linux import cgroup, cgroup_files
from estiba.linux.cgroup import Host
from estiba.linux.device_program import device_program
from estiba.linux.mountinfo import Mount
from estiba.runtime import limits
from estiba.runtime.options import Device
from tests.unit.test_runtime_spec import facts, options

if TYPE_CHECKING:
    from pathlib import Path

ALL = facts(cgroups=Host({name: f"/c/{name}" for name in (*cgroup.CONTROLLERS, "freezer", "cpuacct")}, {}))
UNIFIED = Host(dict.fromkeys(("memory", "pids", "cpu", "cpuset", "io", "devices", "freezer", "cpuacct"), "/u"), {}, "/u")


def resources(*words: tuple[str, str], before: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    return limits.changed(before or {}, options(*words, **attributes), ALL)


def test_flags_become_the_specs_members() -> None:
    found = resources(
        ("memory", "64m"), ("memory-swap", "-1"), ("memory-reservation", "32m"), ("memory-swappiness", "0"), ("blkio-weight", "300"),
        ("device-read-bps", "/dev/sda:1mb"), ("device-write-iops", "/dev/sda:7"), ("blkio-weight-device", "/dev/sdb:10"), ("cpu-quota", "-1"),
        oom_kill_disable=True,
    )  # fmt: skip
    assert found == {
        "memory": {"limit": 64 << 20, "swap": -1, "reservation": 32 << 20, "swappiness": 0, "disableOOMKiller": True},
        "cpu": {"quota": -1},
        "blockIO": {
            "weight": 300,
            "weightDevice": [{"path": "/dev/sdb", "weight": 10}],
            "throttleReadBpsDevice": [{"path": "/dev/sda", "rate": 1 << 20}],
            "throttleWriteIOPSDevice": [{"path": "/dev/sda", "rate": 7}],
        },
    }


@pytest.mark.parametrize("flag", ["memory", "memory-swap", "memory-reservation", "cpu-shares", "cpu-period", "cpu-quota", "blkio-weight"])
def test_zero_is_as_if_it_was_not_given(flag: str) -> None:
    assert resources((flag, "0")) == {}


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("memory-swappiness", "101"), ("memory-swappiness", "-2"), ("blkio-weight", "9"), ("blkio-weight", "1001"), ("blkio-weight", "x"),
        ("device-read-bps", "/dev/sda"), ("device-read-bps", "sda:1mb"), ("device-read-bps", "/dev/sda:0"), ("device-read-bps", "/dev/sda:-1"),
        ("device-write-iops", "/dev/sda:1k"), ("device-read-iops", "/dev/../etc/passwd:1"), ("blkio-weight-device", "/dev/sda:5"),
        ("device-cgroup-rule", "c 1:3"), ("device-cgroup-rule", "x 1:3 r"), ("device-cgroup-rule", "c 1 r"), ("device-cgroup-rule", "c a:* r"),
        ("device-cgroup-rule", "c 1:3 rx"), ("device-cgroup-rule", "c 1:3 rwmr"),
        ("cgroup-parent", ".."), ("cgroup-parent", "a/../../b"), ("cgroup-parent", "a//b"), ("cgroup-parent", "a\nb"), ("cgroup-parent", "/"),
        ("cpu-quota", "-2"), ("cpu-quota", "999"), ("memory-reservation", "5m"),
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused(flag: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"cannot use --{flag} "):
        options((flag, text))


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ({"memory": {"limit": 32 << 20, "swap": 64 << 20}}, [("memory", "48m")], {"memory": {"limit": 48 << 20, "swap": 64 << 20}}),
        ({"pids": {"limit": 5}, "devices": [1]}, [("cpu-shares", "7")], {"pids": {"limit": 5}, "devices": [1], "cpu": {"shares": 7}}),
        ({"pids": {"limit": 5}}, [("pids-limit", "-1")], {"pids": {"limit": -1}}),
        ({"cpu": {"shares": 7, "cpus": "0"}}, [("cpuset-cpus", "1")], {"cpu": {"shares": 7, "cpus": "1"}}),
    ],
)
def test_update_changes_what_it_names_alone(before: dict[str, Any], words: list[tuple[str, str]], after: dict[str, Any]) -> None:
    assert resources(*words, before=before) == after


def test_update_that_contradicts_what_is_there() -> None:
    with pytest.raises(InvalidArgument, match="more than --memory-swap"):
        resources(("memory", "96m"), before={"memory": {"limit": 32 << 20, "swap": 64 << 20}})
    with pytest.raises(InvalidArgument, match="--memory-reservation"):
        resources(("memory-reservation", "96m"), before={"memory": {"limit": 32 << 20}})


def test_version_1_files() -> None:
    block = {"weight": 300, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}], "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]}
    memory = {"swappiness": 3, "disableOOMKiller": True}
    assert cgroup_files.version1({"memory": memory, "blockIO": block}) == {
        "memory": [("memory.swappiness", "3"), ("memory.oom_control", "1")],
        "io": [
            ("blkio.bfq.weight", "300", "blkio.weight", "300"),
            ("blkio.bfq.weight_device", "8:0 10", "blkio.weight_device", "8:0 10"),
            ("blkio.throttle.read_bps_device", "8:0 5"),
        ],
    }


def test_version_2_files() -> None:
    block = {"weight": 1000, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}], "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 6}]}
    cpu = {"period": 50000, "shares": 2, "cpus": "0"}
    assert cgroup_files.version2({"cpu": cpu, "blockIO": block, "memory": {"limit": 10, "swap": -1}}) == {
        "cpu": [("cpu.max", "max 50000"), ("cpu.weight", "1")],
        "cpuset": [("cpuset.cpus", "0")],
        "io": [("io.bfq.weight", "1000", "io.weight", "default 10000"), ("io.max", "8:0 rbps=5"), ("io.max", "8:0 wiops=6")],
        "memory": [("memory.max", "10"), ("memory.swap.max", "max"), ("memory.oom.group", "1")],
    }


@pytest.mark.parametrize("memory", [{"swappiness": 5}, {"disableOOMKiller": True}])
def test_what_version_2_does_not_have_is_refused(memory: dict[str, Any]) -> None:
    with pytest.raises(FailedPrecondition, match="version 2"):
        UNIFIED.groups("ID", {"memory": memory})


def test_rules_that_only_allow_need_no_controller() -> None:
    allow = {"allow": True, "type": "c", "major": 42, "access": "rw"}
    assert Host({}, {}).groups("ID", {"devices": [allow]}) == []
    (group,) = ALL.cgroups.groups("ID", {"devices": [allow, {"allow": False, "access": "m"}]})
    assert group.writes == [("devices.allow", "c 42:* rw"), ("devices.deny", "b *:* m"), ("devices.deny", "c *:* m")]


def test_the_hosts_user_namespace_has_an_allow_list() -> None:
    """Of a container in a namespace of its own the kernel keeps all devices; a privileged one, and a host without rules, have none."""
    device = Device("/dev/x", "/dev/x", "r")
    rules = limits.resources(options(userns="host", devices=[device]), ALL)["devices"]
    assert (rules[0], rules[-1]) == ({"allow": False}, {"allow": True, "path": "/dev/x", "access": "r"})
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules
    assert "devices" not in limits.resources(options(), ALL)
    assert "devices" not in limits.resources(options(userns="host", privileged=True), ALL)
    assert "devices" not in limits.resources(options(userns="host"), facts(cgroups=Host({}, {})))


def test_version_1_takes_the_type_a_for_everything() -> None:
    """What says less is said of either type: of one that is denied or allowed, nothing else may be."""
    rules: list[dict[str, Any]] = [{"allow": False}, {"allow": True, "major": 7}, {"allow": True, "type": "a", "major": -1, "access": "rmw"}, {"allow": True, "type": "p"}]
    lines = [("devices.deny", "a *:* rwm"), ("devices.allow", "b 7:* rwm"), ("devices.allow", "c 7:* rwm"), ("devices.allow", "a *:* rmw")]
    assert cgroup_files.device_writes(rules) == lines


def test_rules_of_devices_are_a_program_on_version_2() -> None:
    rules = [{"allow": False, "type": "c", "major": 10, "minor": 237, "access": "w"}]
    (group,) = UNIFIED.groups("ID", {"devices": rules})
    assert (group.controllers, group.writes, group.devices) == ([], [], device_program(rules, allowed=True))
    assert UNIFIED.groups("ID", {"pids": {"limit": 5}})[0].devices == b""


@pytest.mark.parametrize("uid", [0, 1000])
def test_only_root_has_rules_of_devices_on_version_2(tmp_path: Path, uid: int) -> None:
    settings: Any = SimpleNamespace(uid=uid)
    host = Host.of(settings, [Mount(f"1 0 0:1 / {tmp_path} rw - cgroup2 cgroup2 rw")])
    assert host.available("devices") == (uid == 0)
    assert uid == 0 or "takes root" in host.reason("devices")
    version1 = Mount(f"1 0 0:1 / {tmp_path}/devices rw - cgroup cgroup rw,devices")
    (tmp_path / "devices").mkdir()
    both = Host.of(settings, [version1, Mount(f"1 0 0:1 / {tmp_path} rw - cgroup2 cgroup2 rw")])
    assert both.folders["devices"] == f"{tmp_path}/devices"


def test_a_container_without_limits_is_counted() -> None:
    """On version 2 in one group, on a hybrid host in few, and where nothing can be had in none."""
    (group,) = UNIFIED.groups("ID", {"pids": {"limit": 5}}, also=cgroup.CHANGEABLE)
    assert (group.path, group.controllers, set(group.others)) == ("/u/estiba/ID", ["pids"], {"memory", "cpu", "cpuset", "io"})
    hybrid = Host({"memory": "/m", "cpu": "/c", "cpuset": "/c", "freezer": "/u", "cpuacct": "/u"}, {}, "/u")
    found = {group.path: group for group in hybrid.groups("ID", {"cpu": {"shares": 5}}, also=cgroup.CHANGEABLE)}
    assert set(found) == {"/m/estiba/ID", "/c/estiba/ID", "/u/estiba/ID"}
    assert found["/c/estiba/ID"].writes == [("cpu.shares", "5"), ("cpuset.cpus", ""), ("cpuset.mems", "")]
    assert not found["/u/estiba/ID"].others
    assert Host({}, {"memory": "why"}).groups("ID", {}, also=cgroup.CHANGEABLE) == []


def test_parent() -> None:
    assert cgroup.parent_folder("/a/b") == "a/b"
    (group,) = UNIFIED.groups("ID", {"pids": {"limit": 1}}, parent="a/b")
    assert group.path == "/u/a/b/ID"
