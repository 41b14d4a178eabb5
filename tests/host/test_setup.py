"""The test set-up itself: the leak check must be able to fail, and its users are what they claim."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import leaks

if TYPE_CHECKING:
    from tests.support.users import User


def test_leak_check_sees_an_orphan(tmp_path: Path) -> None:
    before = leaks.snapshot(tmp_path)
    # The shell dies at once; its background child, in a session of its own, comes to us.
    done = subprocess.run(["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    try:
        left = leaks.snapshot(tmp_path).left_since(before)
        assert any(str(pid) in line for line in left), left
    finally:
        os.kill(pid, 9)


def test_leak_check_sees_a_descriptor(tmp_path: Path) -> None:
    before = leaks.snapshot(tmp_path)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    left = leaks.snapshot(tmp_path).left_since(before)
    os.close(descriptor)
    assert len(left) == 1
    assert left[0].endswith(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may have no control groups")
def test_leak_check_sees_a_control_group(tmp_path: Path) -> None:
    top = Path("/sys/fs/cgroup")
    parent = (top / "pids" if (top / "pids").is_dir() else top) / f"estiba-leak-{os.getpid()}"
    (parent / "alive").mkdir(parents=True)
    before = leaks.snapshot(tmp_path)
    (parent / "dead").mkdir()
    left = leaks.snapshot(tmp_path).left_since(before)
    for folder in (parent / "dead", parent / "alive", parent):
        folder.rmdir()
    assert left == [f"cgroup {parent}/dead"]


def test_user_is_ordinary(ordinary_user: User) -> None:
    done = ordinary_user.run("sh", "-c", "id -u; grep CapEff /proc/self/status; touch $HOME/mine && rm $HOME/mine")
    assert done.stdout.split() == [str(ordinary_user.uid), "CapEff:", "0000000000000000"]
    assert ordinary_user.uid != 0


def test_users_differ_in_subordinate_ids(user_with_subids: User, user_without_subids: User) -> None:
    assert user_with_subids.has_subordinate_ids
    assert not user_without_subids.has_subordinate_ids
