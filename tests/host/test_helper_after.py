"""What the monitor does when the container is gone, and the cgroups that it was in."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.plan import ops
from tests.support.leaks import children as live_children
from tests.support.plans import NEWPID, Container, read_until, until
from tests.support.watchers import program_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def folder_slot(container: Container, path: Path) -> int:
    return container.slot(os.open(path, os.O_PATH))


def test_forget_comes_before_the_report(container: Container, tmp_path: Path) -> None:
    here = folder_slot(container, tmp_path)
    (tmp_path / "name").touch()
    container.after += [ops.forget(here, "name"), ops.forget(here, "missing")]
    assert container.run("true").returncode == 0
    assert not (tmp_path / "name").exists()


def test_forget_never_follows(container: Container, tmp_path: Path) -> None:
    here = folder_slot(container, tmp_path)
    (tmp_path / "precious").touch()
    (tmp_path / "name").symlink_to("precious")
    container.after.append(ops.forget(here, "name"))
    container.run("true")
    assert (tmp_path / "precious").exists()
    assert not (tmp_path / "name").is_symlink()


def test_discard(container: Container, tmp_path: Path) -> None:
    """Gone from its place when the client ends, gone from the trash soon after; links out of it are left alone."""
    (tmp_path / "trash").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    here, trash = folder_slot(container, tmp_path), folder_slot(container, tmp_path / "trash")
    container.after.append(ops.discard(here, "container", trash, here))
    script = f"mkdir -p /a/b; ln -s {tmp_path}/precious /a/out; ln -s ../../../../precious /a/b/up; chmod 0 /a/b; mkfifo /a/fifo; exit 5"
    assert container.run("sh", "-c", script).returncode == 5
    assert not (tmp_path / "container").exists()
    until(lambda: not os.listdir(tmp_path / "trash"), "an empty trash")
    assert (tmp_path / "precious" / "file").exists()


def test_discard_takes_the_entry_that_the_folder_names(container: Container, tmp_path: Path) -> None:
    """As the folder says at the end: an entry that is another container's by then stays."""
    for folder in ("trash", "names"):
        (tmp_path / folder).mkdir()
    here, trash, names = (folder_slot(container, tmp_path / name) for name in ("", "trash", "names"))
    (tmp_path / "names" / "old").symlink_to("container")
    (tmp_path / "names" / "new").symlink_to("container")
    (tmp_path / "names" / "other").symlink_to("another")
    link = tmp_path / "container" / "name"
    link.unlink()
    link.symlink_to("new")
    container.after.append(ops.discard(here, "container", trash, names))
    assert container.run("true").returncode == 0
    assert sorted(os.listdir(tmp_path / "names")) == ["old", "other"]


@pytest.mark.parametrize("target", ["other", "../precious"])
def test_discard_unlinks_no_other_entry(container: Container, tmp_path: Path, target: str) -> None:
    for folder in ("trash", "names"):
        (tmp_path / folder).mkdir()
    here, trash, names = (folder_slot(container, tmp_path / name) for name in ("", "trash", "names"))
    (tmp_path / "names" / "other").symlink_to("another")
    (tmp_path / "precious").symlink_to("container")
    link = tmp_path / "container" / "name"
    link.unlink()
    link.symlink_to(target)
    container.after.append(ops.discard(here, "container", trash, names))
    assert container.run("true").returncode == 0
    assert not (tmp_path / "container").exists()
    assert (tmp_path / "names" / "other").is_symlink()
    assert (tmp_path / "precious").is_symlink()


def test_discard_leaves_a_folder_without_a_name(container: Container, tmp_path: Path) -> None:
    (tmp_path / "trash").mkdir()
    here, trash = folder_slot(container, tmp_path), folder_slot(container, tmp_path / "trash")
    (tmp_path / "container" / "name").unlink()
    container.after.append(ops.discard(here, "container", trash, here))
    assert container.run("true").returncode == 0
    assert (tmp_path / "container" / "upper").is_dir()


def test_discard_of_a_deep_tree(container: Container, tmp_path: Path) -> None:
    (tmp_path / "trash").mkdir()
    here, trash = folder_slot(container, tmp_path), folder_slot(container, tmp_path / "trash")
    container.after.append(ops.discard(here, "container", trash, here))
    container.run("sh", "-c", "cd /tmp; i=0; while [ $i -lt 350 ]; do mkdir d && cd d; i=$((i+1)); done")
    until(lambda: not os.listdir(tmp_path / "trash"), "an empty trash")


def test_discard_after_a_failure_to_launch(container: Container, tmp_path: Path) -> None:
    (tmp_path / "trash").mkdir()
    here, trash = folder_slot(container, tmp_path), folder_slot(container, tmp_path / "trash")
    container.after.append(ops.discard(here, "container", trash, here))
    assert container.run("nope").returncode == 127
    assert not (tmp_path / "container").exists()
    until(lambda: not os.listdir(tmp_path / "trash"), "an empty trash")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../x"])
def test_names_are_one_component(container: Container, tmp_path: Path, name: str) -> None:
    here = folder_slot(container, tmp_path)
    for op in (ops.forget(here, name), ops.discard(here, name, here, here), ops.remove_cgroup(here, name)):
        container.after = [op]
        plan = container.ops(["true"], [])
        assert op in plan
    done = container.run("true")
    assert (done.returncode, done.stderr) == (
        125,
        b"estiba: cannot start container: plan remove_cgroup has a name that is not one path component\n",
    )


# --- cgroups -----------------------------------------------------------------------------------------------------------------------


def hierarchies() -> dict[str, str]:
    """Writable cgroup hierarchies: `unified` (version 2) and that of `pids` of version 1."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split()[:3]
        wanted = kind == "cgroup2" or (kind == "cgroup" and "pids" in options.split(","))
        if wanted and os.access(fields.split()[4], os.W_OK):
            found["unified" if kind == "cgroup2" else "pids"] = fields.split()[4]
    return found


@pytest.fixture(params=sorted(hierarchies().items()), ids=lambda item: item[0])
def cgroup(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A cgroup of our own in a hierarchy of each version that this machine has."""
    path = Path(request.param[1], f"helper-test-{os.getpid()}")
    path.mkdir()
    yield path
    for child in [*path.glob("*/"), path]:
        if child.exists():
            child.rmdir()


def members(path: Path) -> list[int]:
    return [int(word) for word in (path / "cgroup.procs").read_text().split()]


def test_program_is_born_in_its_cgroup(container: Container, cgroup: Path) -> None:
    here = folder_slot(container, cgroup)
    (cgroup / "c").mkdir()
    container.host.append(ops.cgroup(folder_slot(container, cgroup / "c")))
    container.after.append(ops.remove_cgroup(here, "c"))
    container.stdin = 1
    with container.start("sh", "-c", "cat /proc/self/cgroup; echo ready; cat") as process:
        assert process.stdout is not None
        seen = read_until(process.stdout, b"ready\n")
        assert members(cgroup / "c") == [program_of(process)]  # neither keeper nor monitor
        process.communicate()
    assert b":/\n" in seen  # the cgroup namespace's root is the cgroup itself
    until(lambda: not (cgroup / "c").exists(), "the cgroup's removal")


def test_what_is_left_in_the_cgroup_is_killed(container: Container, cgroup: Path) -> None:
    """Without a PID namespace processes outlive the program."""
    (cgroup / "c").mkdir()
    here = folder_slot(container, cgroup)
    container.host.append(ops.cgroup(folder_slot(container, cgroup / "c")))
    container.after.append(ops.remove_cgroup(here, "c"))
    container.namespaces &= ~NEWPID
    container.file_systems = [op for op in container.file_systems if op[1] != "proc"]
    container.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 & sleep 0.1; exit 0")
    until(lambda: not (cgroup / "c").exists(), "the cgroup's removal")


def test_record_goes_when_the_cgroup_is_gone(container: Container, cgroup: Path, tmp_path: Path) -> None:
    (cgroup / "c").mkdir()
    (tmp_path / "early").touch()
    (tmp_path / "record").touch()
    here, groups = folder_slot(container, tmp_path), folder_slot(container, cgroup)
    container.after += [ops.forget(here, "early"), ops.remove_cgroup(groups, "c"), ops.forget(here, "record")]
    container.run("true")
    assert not (tmp_path / "early").exists()
    until(lambda: not (tmp_path / "record").exists(), "the record's removal")
    assert not (cgroup / "c").exists()


@pytest.mark.parametrize("case", ["empty", "in use", "another user's"])
def test_folder_of_cgroups_goes_with_the_last(container: Container, cgroup: Path, case: str) -> None:
    folder = cgroup / "all"
    (folder / "c").mkdir(parents=True)
    if case == "in use":
        (folder / "other").mkdir()
    if case == "another user's":
        os.chown(folder, 1, 1)
    container.after += [ops.remove_cgroup(folder_slot(container, folder), "c"), ops.leave_cgroup(folder_slot(container, cgroup), "all")]
    before = live_children()
    try:
        container.run("true")
        until(lambda: live_children() <= before, "the monitor's end")
        assert not (folder / "c").exists()
        assert folder.exists() == (case != "empty")
    finally:
        for path in (folder / "other", folder):
            if path.exists():
                path.rmdir()


def test_record_of_a_cgroup_that_stays_stays(container: Container, cgroup: Path, tmp_path: Path) -> None:
    (cgroup / "c" / "child").mkdir(parents=True)  # with which it cannot be removed
    (tmp_path / "record").touch()
    here, groups = folder_slot(container, tmp_path), folder_slot(container, cgroup)
    container.after += [ops.remove_cgroup(groups, "c"), ops.forget(here, "record")]
    before = live_children()  # of fixtures that the whole session has
    try:
        container.run("true")
        until(lambda: live_children() <= before, "the monitor's end")
        assert (tmp_path / "record").exists()
    finally:
        (cgroup / "c" / "child").rmdir()


def test_cgroup_that_is_not_there(container: Container, tmp_path: Path) -> None:
    container.host.append(ops.cgroup(folder_slot(container, tmp_path)))
    done = container.run("true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"estiba: cannot start container: "), done.stderr


def test_limits_hold_from_the_first_instruction(container: Container, cgroup: Path) -> None:
    controllers = cgroup.parent / "cgroup.subtree_control"
    if not (cgroup / "pids.max").exists():
        assert "pids" not in (controllers.read_text() if controllers.exists() else "")
        return  # a hybrid machine: the controller is in the other hierarchy, and so in the other case of this test
    (cgroup / "c").mkdir()
    (cgroup / "c" / "pids.max").write_text("1")
    container.host.append(ops.cgroup(folder_slot(container, cgroup / "c")))
    done = container.run("sh", "-c", "sleep 0; echo $?")
    assert b"can't fork" in done.stderr, done


# --- namespaces ------------------------------------------------------------------------------------------------------------------------


def test_namespaces_are_its_own(container: Container) -> None:
    names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
    done = container.run("sh", "-c", "for n in " + " ".join(names) + "; do readlink /proc/self/ns/$n; done")
    inside = done.stdout.decode().split()
    assert len(inside) == len(names)
    assert not set(inside) & {os.readlink(f"/proc/self/ns/{name}") for name in names}


def test_namespaces_are_the_hosts(container: Container) -> None:
    """The twin: what is not asked for is shared."""
    container.namespaces = 0x20000 | NEWPID
    done = container.run("sh", "-c", "for n in ipc net uts cgroup; do readlink /proc/self/ns/$n; done")
    assert done.stdout.decode().split() == [os.readlink(f"/proc/self/ns/{name}") for name in ("ipc", "net", "uts", "cgroup")]


def test_everything_in_the_pid_namespace_dies_with_the_program(container: Container) -> None:
    with container.start("sh", "-c", "setsid sleep 1000 & echo ready; sleep 0.1; exit 4", stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        assert process.wait(30) == 4
        process.communicate()


def test_stop_signal_is_what_terminate_becomes(container: Container) -> None:
    container.host.append(ops.stop_signal(int(signal.SIGUSR2)))
    with container.start("sh", "-c", "trap 'exit 12' USR2; echo ready; while :; do sleep 0.01; done") as process:
        assert process.stdout is not None
        read_until(process.stdout, b"ready\n")
        process.terminate()
        process.communicate()
    assert process.returncode == 12


def test_trace(container: Container, tmp_path: Path) -> None:
    container.host.append(ops.trace(container.file(tmp_path / "trace")))
    assert container.run("true").returncode == 0
    steps = [line.split() for line in (tmp_path / "trace").read_text().splitlines()]
    names = [name for name, _ in steps]
    assert names[0] == "plan"
    assert {"clone", "maps", "go", "overlay", "pivot", "execute", "executed", "report"} <= set(names)
    assert names.index("clone") < names.index("overlay") < names.index("pivot") < names.index("execute")
