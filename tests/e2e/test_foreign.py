"""Images of another machine on the host's kernel: the real Alpine for aarch64, run by qemu-user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.engine import foreign
from tests.support.containers import Remains

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.command import Command
    from tests.support.users import User

IMAGE = "local/foreign:test"


def host_table() -> list[str]:
    return sorted(os.listdir(foreign.HOST_TABLE))


@pytest.fixture
def arm(estiba: Command, aarch64_tar: Path) -> Iterator[Command]:
    """The command line, with IMAGE in its store; the host's table is afterwards what it was."""
    before = host_table()
    estiba("import", "--platform", "linux/arm64", str(aarch64_tar), IMAGE)
    yield estiba
    assert host_table() == before


def test_runs_as_its_own_machine(arm: Command) -> None:
    script = "uname -m; cat /etc/alpine-release; echo err >&2; exit 7"
    done = arm("run", "--rm", IMAGE, "sh", "-c", script, status=7)
    assert (done.stdout.split(), done.stderr) == (["aarch64", "3.20.3"], "err\n")


@pytest.mark.parametrize(
    "options",
    [["-u", "nobody"], ["--read-only"], ["-t"], ["--privileged"], ["--security-opt", "no-new-privileges"], ["--pid", "host"], ["--init"]],
    ids=" ".join,
)
def test_options(arm: Command, options: list[str]) -> None:
    assert arm("run", "--rm", *options, IMAGE, "uname", "-m").stdout.split() == ["aarch64"]


def test_argument_zero_is_kept(arm: Command) -> None:
    assert arm("run", "--rm", IMAGE, "cat", "/proc/self/cmdline").stdout.split("\0") == ["cat", "/proc/self/cmdline", ""]


def test_starts_again(arm: Command) -> None:
    name = arm("create", IMAGE, "uname", "-m").stdout.strip()
    assert [arm("start", "-a", name).stdout for _ in range(2)] == ["aarch64\n"] * 2
    arm("rm", name)


def test_table_is_the_containers_own_and_closed(arm: Command) -> None:
    script = f"ls {foreign.HOST_TABLE}; echo -1 > {foreign.HOST_TABLE}/status"
    done = arm("run", "--rm", IMAGE, "sh", "-c", script, status=1)
    assert done.stdout.split() == ["qemu-aarch64", "register", "status"]
    assert "Read-only file system" in done.stderr
    assert "qemu-aarch64" not in host_table()
    # What is privileged may change it: its own, and not the host's.
    script = f"echo -1 > {foreign.HOST_TABLE}/status"
    arm("run", "--rm", "--privileged", IMAGE, "sh", "-c", script)


def test_nothing_of_the_host_is_in_the_container(arm: Command) -> None:
    done = arm("run", "--rm", IMAGE, "sh", "-c", "cat /proc/self/mountinfo; ls -l /proc/self/fd; ls /usr/bin/qemu*", status=1)
    assert "qemu" not in done.stdout


def test_further_programs_run_as_well(arm: Command) -> None:
    name = arm("run", "-d", IMAGE, "sleep", "100").stdout.strip()
    assert arm("exec", "-u", "nobody", name, "sh", "-c", "uname -m; id -u").stdout.split() == ["aarch64", "65534"]
    arm("rm", "-f", name)


def test_interpreter_cannot_be_written(arm: Command) -> None:
    """/proc/PID/exe leads to the host's file: root of a container that owned it could write it once it does not run."""
    name = arm("run", "-d", IMAGE, "sleep", "100").stdout.strip()
    pid = int(arm("inspect", "-f", "{{.State.Pid}}", name).stdout)
    interpreter = Path(f"/proc/{pid}/exe")
    file = os.open(interpreter, os.O_RDONLY)
    read_only, inode = os.fstatvfs(file).f_flag & os.ST_RDONLY, os.fstat(file).st_ino
    os.close(file)
    arm("rm", "-f", name)
    host = next(path for folder in foreign.FOLDERS if (path := Path(folder, "qemu-aarch64-static")).exists())
    assert read_only
    assert inode == host.stat().st_ino
    assert not os.statvfs(host).f_flag & os.ST_RDONLY  # the same file is not so by itself


def test_host_user_namespace_would_need_the_hosts_table(arm: Command) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = arm("run", "--rm", "--userns", "host", IMAGE, "true", status=126)
    assert "warning: the image is linux/arm64/v8" in done.stderr
    assert "with --userns host the host's own binfmt_misc(5)" in done.stderr


def test_ordinary_users(ordinary_user: User, aarch64_tar: Path) -> None:
    before = host_table()
    tar = ordinary_user.folder / "arm.tar.gz"
    shutil.copyfile(aarch64_tar, tar)
    tar.chmod(0o644)
    ordinary_user.estiba("import", "--platform", "linux/arm64", "arm.tar.gz", IMAGE)
    done = ordinary_user.estiba("run", "--rm", IMAGE, "sh", "-c", "uname -m; id -u")
    assert done.stdout.split() == ["aarch64", "0"]
    assert host_table() == before
    assert not Remains(ordinary_user.folder / "root", ordinary_user.folder / "run" / "estiba").gone()
