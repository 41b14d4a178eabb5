"""Devices of the host in root's containers: nodes with owners that exist inside, and no more access than was asked for."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

import pytest

from tests.support.cgroups import without_cgroups
from tests.support.command import Command, command_under_test
from tests.support.containers import Remains

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's containers get nodes of their own")

SH = ("--", "sh", "-c")


@pytest.fixture(autouse=True, params=["of this machine", "of version 2"])
def control_groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules of devices are files of version 1 and a program of version 2, which is taken where the files are not to be seen."""
    if request.param == "of version 2":
        monkeypatch.setenv("ESTIBA_UNDER_TEST", shlex.join([*without_cgroups("devices"), *command_under_test()]))


@pytest.fixture
def private() -> str:
    """A device of root alone (loop-control: character 10:237, which opening changes nothing of)."""
    path = "/dev/loop-control"
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o007 == 0
    return path


def test_root_inside_opens_what_root_outside_may(box: Command, private: str) -> None:
    status = os.stat(private)
    script = f"stat -c '%u %g %t:%T' {private}; exec 3<>{private} && echo opened"
    expected = [str(status.st_uid), str(status.st_gid), f"{os.major(status.st_rdev):x}:{os.minor(status.st_rdev):x}", "opened"]
    assert box("--device", private, *SH, script).stdout.split() == expected


def test_nodes_that_root_of_the_hosts_user_namespace_makes(box: Command, private: str) -> None:
    """The twins: a default device, and the same one with a rule for it."""
    numbers = os.stat(private).st_rdev
    script = f"mknod /x c {os.major(numbers)} {os.minor(numbers)} && (: < /x) && echo opened; mknod /z c 1 5 && head -c 1 /z | wc -c"
    host = ("--userns", "host", "--cap-add", "MKNOD")
    assert box(*host, *SH, script).stdout == "1\n"
    assert box(*host, "--device-cgroup-rule", f"c {os.major(numbers)}:* r", *SH, script).stdout == "opened\n1\n"


def test_without_the_flag_there_is_no_device(box: Command, private: str) -> None:
    assert box(*SH, f"exec 3<{private}", status=1).stdout == ""


def test_another_user_inside_may_not(box: Command, private: str) -> None:
    assert box("--device", private, "-u", "1000", *SH, f"exec 3<>{private}", status=1).stdout == ""


@pytest.mark.parametrize(("permissions", "expected"), [("rw", "rw"), ("r", "r"), ("w", "w")])
def test_permissions(box: Command, private: str, permissions: str, expected: str) -> None:
    script = "(exec 3</dev/x) 2>/dev/null && printf r; (exec 3>/dev/x) 2>/dev/null && printf w; true"
    assert box("--device", f"{private}:/dev/x:{permissions}", *SH, script).stdout == expected


def test_permissions_of_one_device_are_not_those_of_another(box: Command, private: str) -> None:
    assert box("--device", f"{private}:/dev/x:r", *SH, "echo x >/dev/null && echo written").stdout == "written\n"


@pytest.mark.parametrize("text", ["/dev/no-such-device", "/dev/no-such-device:r", "/dev/shm"])
def test_what_is_no_device_is_refused(box: Command, text: str) -> None:
    refused = box("--device", text, "--", "true", status=125)
    assert refused.stderr.startswith("estiba: cannot use ")


def test_a_folder_stands_for_the_devices_in_it(box: Command, tmp_path: Path) -> None:
    expected = sorted(path.name for path in Path("/dev/net").iterdir() if path.is_char_device())
    assert expected
    assert box("--device", "/dev/net:/dev/networks", *SH, "ls /dev/networks").stdout.split() == expected


def test_privileged_has_the_callers_devices(box: Command, private: str) -> None:
    script = f"exec 3<>{private} && echo opened; echo x > /dev/null && echo null; ls -d /dev/pts/ptmx /dev/shm"
    assert box("--privileged", *SH, script).stdout.split() == ["opened", "null", "/dev/pts/ptmx", "/dev/shm"]


def test_nodes_go_with_the_container(box: Command, private: str, alpine_store: Path, remains: Remains) -> None:
    box("--device", private, "--", "true")
    assert not remains.gone()  # what goes behind the exit code
    assert not [path for path in alpine_store.rglob("*") if path.is_char_device() or path.is_block_device()]
