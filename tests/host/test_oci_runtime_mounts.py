"""Bundles without a mount namespace of their own: the container's mounts are the caller's, and are gone with the container."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bundles import BundleRuntime


class Host:
    """A mount namespace whose mounts are shared, as systemd makes them, in the host's place."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.through = ("nsenter", "--mount", f"--target={pid}")

    def mounts(self) -> list[str]:
        return Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()

    def call(self, *command: str) -> None:
        subprocess.run([*self.through, *command], check=True)


@pytest.fixture
def host() -> Iterator[Host]:
    script = "mount --make-rshared / && echo ready && exec sleep 1000"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield Host(holder.pid)
        holder.kill()


@pytest.fixture
def mountless(bundle: BundleRuntime) -> BundleRuntime:
    bundle.config["linux"]["namespaces"] = [{"type": "pid"}]
    del bundle.config["hostname"]
    bundle.shell("exec sleep 1000")
    return bundle


def here(bundle: BundleRuntime) -> tuple[str, ...]:
    """nsenter(1) changes the working directory."""
    return "--bundle", str(bundle.folder / "bundle"), bundle.name


def start(bundle: BundleRuntime, host: Host) -> None:
    with (bundle.folder / "output").open("wb") as output:
        bundle("run", "--detach", *here(bundle), through=host.through, stdout=output, stderr=output)


def test_its_mounts_are_below_its_root_and_go_with_it(mountless: BundleRuntime, host: Host) -> None:
    before = host.mounts()
    start(mountless, host)
    during = host.mounts()
    assert os.readlink(f"/proc/{mountless.state()['pid']}/ns/mnt") == os.readlink(f"/proc/{host.pid}/ns/mnt")
    assert set(before) < set(during), "no mount of the host has another propagation"
    targets = [line.split(" ")[4] for line in during if line not in before]
    assert targets[0] == str(mountless.root)
    assert {f"{mountless.root}/proc", f"{mountless.root}/dev", f"{mountless.root}/sys"} < set(targets)
    assert all(target.startswith(f"{mountless.root}/") for target in targets[1:])
    mountless("delete", "--force", mountless.name, through=host.through)
    assert host.mounts() == before


def test_exec_does_not_see_the_hosts_root(mountless: BundleRuntime, host: Host) -> None:
    start(mountless, host)
    assert mountless("exec", mountless.name, "ls", "/", through=host.through).stdout.split() == sorted(os.listdir(mountless.root))
    # Nor from another mount namespace than the container's.
    assert mountless("exec", mountless.name, "ls", "/").stdout.split() == sorted(os.listdir(mountless.root))
    mountless("delete", "--force", mountless.name, through=host.through)


def test_what_was_mounted_on_its_root_before_stays(mountless: BundleRuntime, host: Host) -> None:
    host.call("mount", "--bind", str(mountless.root), str(mountless.root))
    before = host.mounts()
    start(mountless, host)
    assert host.mounts() != before
    mountless("delete", "--force", mountless.name, through=host.through)
    assert host.mounts() == before


def test_a_create_that_fails_or_is_killed_leaves_no_mount(mountless: BundleRuntime, host: Host) -> None:
    before = host.mounts()
    mountless.config["process"]["args"] = ["nowhere"]
    mountless("create", *here(mountless), status=1, through=host.through)
    assert host.mounts() == before
    hook = mountless.folder / "hook"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\nsleep 1\n")
    hook.chmod(0o755)
    mountless.config["hooks"] = {"createRuntime": [{"path": str(hook)}]}
    mountless("create", *here(mountless), status=-9, through=host.through)
    assert host.mounts() != before
    mountless("delete", "--force", mountless.name, through=host.through)
    assert host.mounts() == before


def test_a_mount_namespace_that_is_named_keeps_its_root(mountless: BundleRuntime, host: Host) -> None:
    """A pivot there would take the root away from all who are in it."""
    mountless.config["linux"]["namespaces"].append({"type": "mount", "path": f"/proc/{host.pid}/ns/mnt"})
    before = host.mounts()
    mountless.shell("ls /")
    assert mountless("run", *here(mountless), through=host.through).stdout.split() == sorted(os.listdir(mountless.root))
    assert host.mounts() == before
    host.call("test", "-d", str(mountless.folder))
