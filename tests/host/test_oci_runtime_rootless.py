"""The OCI runtime face as an ordinary user, on the bundle that `runc spec --rootless` writes."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.plans import make_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.users import User


class RootlessBundle:
    def __init__(self, user: User, folder: Path) -> None:
        self.user = user
        self.folder = folder
        make_image(folder)
        (folder / "base").rename(folder / "rootfs")
        (folder / "rootfs" / "sys").mkdir(exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            os.lchown(path, user.uid, user.gid)
        user.run("runc", "spec", "--rootless", "--bundle", str(folder))
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["process"]["env"] = ["PATH=/bin"]

    def __call__(self, *words: str, status: int | None = 0) -> str:
        (self.folder / "config.json").write_text(json.dumps(self.config))
        done = self.user.estiba("runtime", *words, status=status)
        return done.stdout or done.stderr

    def shell(self, script: str) -> None:
        self.config["process"]["args"] = ["sh", "-c", script]

    def map(self, *lines: tuple[int, int, int]) -> None:
        for kind in ("uidMappings", "gidMappings"):
            self.config["linux"][kind] = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in lines]


def bundle_of(user: User) -> Iterator[RootlessBundle]:
    folder = user.folder / "bundle"
    folder.mkdir()
    yield RootlessBundle(user, folder)
    left = json.loads(user.estiba("runtime", "list", "--format", "json").stdout)
    for container in left:
        user.estiba("runtime", "delete", "--force", container["id"])
    shutil.rmtree(folder)
    assert not left


@pytest.fixture
def rootless(ordinary_user: User) -> Iterator[RootlessBundle]:
    yield from bundle_of(ordinary_user)


@pytest.fixture
def rootless_with_subids(user_with_subids: User) -> Iterator[RootlessBundle]:
    yield from bundle_of(user_with_subids)


def test_run(rootless: RootlessBundle) -> None:
    rootless.shell("id -u; cat /proc/self/uid_map; touch /x || echo read-only; echo > /dev/null && exit 3")
    said = rootless("run", "--bundle", str(rootless.folder), "one", status=3).split("\n")
    assert (said[0], said[1].split(), said[2]) == ("0", ["0", str(rootless.user.uid), "1"], "read-only")


def test_life(rootless: RootlessBundle) -> None:
    rootless.shell("exec sleep 1000 >/dev/null 2>&1")  # nobody waits for the end of a pipe
    rootless("run", "--detach", "--bundle", str(rootless.folder), "one")
    assert rootless("exec", "one", "sh", "-c", "id -u; readlink /proc/1/exe").split() == ["0", "/bin/busybox"]
    assert "no control group" in rootless("ps", "one", status=1)
    assert "no control group" in rootless("pause", "one", status=1)
    assert "no control group" in rootless("update", "--pids-limit", "5", "one", status=1)
    rootless("kill", "--all", "one", "KILL")
    rootless("delete", "--force", "one")


def test_ids_that_are_not_the_users_are_refused(rootless: RootlessBundle) -> None:
    """The twin is every other test: the user's own id."""
    rootless.map((0, 0, 1))
    said = rootless("run", "--bundle", str(rootless.folder), "one", status=1)
    assert "/etc/sub" in said or "newuidmap" in said


def test_subordinate_ids(rootless_with_subids: RootlessBundle) -> None:
    bundle, user = rootless_with_subids, rootless_with_subids.user
    with open("/etc/subuid", encoding="utf-8") as file:
        first = next(int(line.split(":")[1]) for line in file if line.split(":")[0] in (user.name, str(user.uid)))
    bundle.map((0, user.uid, 1), (1, first, 1000))
    bundle.config["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    bundle.shell("id -u; id -G; wc -l < /proc/self/uid_map")
    assert bundle("run", "--bundle", str(bundle.folder), "one").split() == ["7", "8", "9", "2"]
