"""mountinfo, control groups of both versions, records of running containers: files of the kernel and of ours, read and written."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from estiba.engine import reclaim, records
from estiba.errors import FailedPrecondition
from estiba.linux import cgroup, facts, mountinfo
from estiba.linux.cgroup import Host
from estiba.linux.freezer import Freezer

if TYPE_CHECKING:
    from estiba.config.settings import Settings

HOST = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
31 23 0:29 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:33 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory
40 27 0:50 / /a\\040b\\134c rw - tmpfs none rw
41 27 0:51 / /a\\040b\\134c rw - ext4 /dev/x rw
"""


def mounts(tmp_path: Path, text: str) -> list[mountinfo.Mount]:
    (tmp_path / "mountinfo").write_text(text)
    return mountinfo.read(str(tmp_path / "mountinfo"))


def test_mountinfo(tmp_path: Path) -> None:
    found = mounts(tmp_path, HOST)
    assert (found[5].target, found[5].fstype, found[5].super_options, found[5].device) == (
        "/sys/fs/cgroup/memory",
        "cgroup",
        "rw,memory",
        "0:33",
    )
    covering = mountinfo.covering(found, "/a b\\c/d")
    assert covering is not None
    assert (covering.fstype, covering.target) == ("ext4", "/a b\\c"), "of two on one place the later one is seen"
    root = mountinfo.covering(found, "/a")
    assert root is not None
    assert root.target == "/"
    kernels = mountinfo.read_kernel_trees(str(tmp_path / "mountinfo"))
    assert [mount.target for mount in kernels] == [mount.target for mount in found if mount.target.startswith(("/proc", "/sys"))]


@pytest.mark.parametrize(
    ("line", "visible"),
    [
        ("", True),
        ("50 22 0:60 / /proc/acpi ro - tmpfs tmpfs ro\n", False),
        ("50 22 0:6 /null /proc/kcore rw - devtmpfs devtmpfs rw\n", False),
        ("50 22 0:21 /sys /proc/sys ro - proc proc rw\n", False),
        ("50 27 0:21 /sys /process ro - proc proc rw\n", True),
    ],
)
def test_whether_a_procfs_may_be_mounted(tmp_path: Path, line: str, visible: bool) -> None:
    assert mountinfo.fully_visible(mounts(tmp_path, HOST + line), "/proc") is visible
    assert mountinfo.fully_visible(mounts(tmp_path, HOST + line), "/sys")


def test_hard_limits_are_those_of_the_kernel() -> None:
    import resource

    assert facts.hard_limits() == {number: resource.getrlimit(number)[1] for number in range(16)}


# --- control groups ------------------------------------------------------------------------------------------------------------

BOTH = {
    "memory": {"limit": 64 << 20, "swap": 128 << 20},
    "pids": {"limit": 5},
    "cpu": {"quota": 50000, "period": 100000, "shares": 1024, "cpus": "0"},
}


def writes(host: Host, resources: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    return {group.path: [(write[0], write[1]) for write in group.writes] for group in host.groups("ID", resources)}


def test_version_1_has_a_group_for_each_controller() -> None:
    host = Host({name: f"/c/{name}" for name in cgroup.CONTROLLERS}, {})
    assert writes(host, BOTH) == {
        "/c/memory/estiba/ID": [("memory.limit_in_bytes", str(64 << 20)), ("memory.memsw.limit_in_bytes", str(128 << 20))],
        "/c/pids/estiba/ID": [("pids.max", "5")],
        "/c/cpu/estiba/ID": [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000"), ("cpu.shares", "1024")],
        "/c/cpuset/estiba/ID": [("cpuset.cpus", "0"), ("cpuset.mems", "")],
    }
    assert writes(host, {"pids": {"limit": -1}}) == {"/c/pids/estiba/ID": [("pids.max", "max")]}


def test_version_2_has_one_group() -> None:
    host = Host(dict.fromkeys(("memory", "pids", "cpu", "cpuset"), "/u"), {}, "/u")
    (group,) = host.groups("ID", BOTH)
    assert set(group.controllers) == {"memory", "pids", "cpu", "cpuset"}
    values = dict(writes(host, BOTH)["/u/estiba/ID"])
    assert values.pop("cpu.weight") == "39"  # of 1024 shares, as runtimes compute it
    assert values == {
        "memory.max": str(64 << 20), "memory.swap.max": str(64 << 20), "memory.oom.group": "1", "pids.max": "5", "cpu.max": "50000 100000",
        "cpuset.cpus": "0",
    }  # fmt: skip


def test_hybrid_takes_each_controller_where_it_is() -> None:
    host = Host({"memory": "/v1/memory", "pids": "/u"}, {}, "/u")
    assert set(writes(host, {"memory": {"limit": 8 << 20}, "pids": {"limit": 5}})) == {"/v1/memory/estiba/ID", "/u/estiba/ID"}


def test_a_limit_that_cannot_be_had_is_refused_with_the_reason() -> None:
    with pytest.raises(FailedPrecondition, match="cannot limit memory: .* is not writable"):
        Host({}, {"memory": "/c is not writable"}).groups("ID", {"memory": {"limit": 8 << 20}})
    with pytest.raises(FailedPrecondition, match="no mounted cgroup hierarchy"):
        Host({}, {}).groups("ID", {"pids": {"limit": 5}})


def test_a_file_that_the_kernel_refuses_takes_the_group_away(tmp_path: Path) -> None:
    group = cgroup.Group(str(tmp_path), f"{tmp_path}/estiba/ID", [("no.such.file", "1")])
    with pytest.raises(FailedPrecondition, match=r"no\.such\.file"):
        cgroup.make(group)
    assert not (tmp_path / "estiba" / "ID").exists()
    assert cgroup.remove(group.path)


# --- records -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = SimpleNamespace(root=str(tmp_path / "root"), runtime_dir=str(tmp_path / "run"), id_range_start=1879048192, id_range_count=65536 * 8)
    return cast("Settings", made)


def record(tmp_path: Path, settings: Settings, *, creator: str = "", remove: bool = False, finished: bool = True) -> records.Record:
    folder = tmp_path / "containers" / "c"
    (tmp_path / "trash").mkdir()
    (tmp_path / "names").mkdir()
    folder.mkdir(parents=True)
    (folder / "status").touch()
    if finished:
        (folder / "state.json").touch()
    made = records.Record("c", str(folder))
    made.creator, made.remove, made.trash, made.name = creator, remove, str(tmp_path / "trash"), str(tmp_path / "names" / "n")
    os.symlink("c", made.name)
    if remove:
        os.symlink("n", folder / "name")  # it goes with its run (engine/names.py)
    made.slot = 3
    made.write(settings)
    assert records.ranges(settings).take(3, "c")
    return made


def test_record_is_read_as_it_was_written(tmp_path: Path, settings: Settings) -> None:
    made = record(tmp_path, settings, creator="1 2", remove=True)
    made.cgroups = ["/c/a b", "/c/d"]
    made.write(settings)
    found = records.read(settings, "c")
    assert found is not None
    assert {name: getattr(found, name) for name in records.Record.__slots__} == {
        name: getattr(made, name) for name in records.Record.__slots__
    }


def test_the_living_are_not_swept(tmp_path: Path, settings: Settings) -> None:
    made = record(tmp_path, settings)  # its creator is this process
    assert reclaim.sweep(settings) == []
    made.creator = "1 0"  # process 1 did not start at tick 0 of its own clock
    made.write(settings)
    with open(f"{made.folder}/status", "rb") as status:
        fcntl.flock(status, fcntl.LOCK_EX)
        assert reclaim.sweep(settings) == [], "a keeper or monitor holds the lock"
    assert reclaim.sweep(settings) == ["c"]


@pytest.mark.parametrize(
    ("remove", "finished", "stays"), [(True, True, False), (False, True, True), (False, False, False), (True, False, False)]
)
def test_what_a_dead_container_held_comes_back(tmp_path: Path, settings: Settings, remove: bool, finished: bool, stays: bool) -> None:
    made = record(tmp_path, settings, creator="1 0", remove=remove, finished=finished)
    assert reclaim.sweep(settings) == ["c"]
    assert not os.listdir(records.live_folder(settings))
    assert records.ranges(settings).take(3, "other"), "the range is free again"
    assert Path(made.folder).exists() is stays
    assert os.path.lexists(made.name) is stays
    assert reclaim.sweep(settings) == []


def test_a_name_that_another_container_took_stays(tmp_path: Path, settings: Settings) -> None:
    made = record(tmp_path, settings, creator="1 0", remove=True)
    os.unlink(made.name)
    os.symlink("other", made.name)
    assert reclaim.sweep(settings) == ["c"]
    assert os.readlink(made.name) == "other"


def test_a_start_looks_at_so_many_records_and_no_more(settings: Settings, tmp_path: Path) -> None:
    for number in range(5):
        dead = records.Record(f"c{number}", f"{tmp_path}/none")
        dead.creator = "1 0"
        dead.write(settings)
    assert len(reclaim.sweep(settings, limit=2)) == 2
    assert len(reclaim.sweep(settings)) == 3


@pytest.mark.parametrize(("number", "passes"), [(errno.ENOENT, True), (errno.ENODEV, True), (errno.EACCES, False)])
def test_group_that_goes_while_it_is_thawed(number: int, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers ENODEV for a file of a group that is removed between open(2)'s steps."""
    freezer = Freezer("/nowhere", unified=True)

    def fail(*words: object, **rest: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("estiba.linux.freezer.write_file", fail)
    if passes:
        freezer.thaw()
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            freezer.thaw()
