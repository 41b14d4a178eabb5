"""estiba inside the container of another engine: runc's, with the capabilities, masks and overlay root that Docker gives."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import command_under_test

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a container of Docker's kind needs root")

DOCKER = [f"CAP_{name}" for name in (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split()
)]  # fmt: skip
STORE = "/store"
# Mounts that the test process itself sees: what the installation needs, wherever it is.
SHARED = ("/usr", "/etc/ld.so.cache", "/etc/passwd", "/etc/group")

Outer = Callable[..., subprocess.CompletedProcess[str]]


def specification(folder: Path, words: list[str], *, admin: bool, masked: bool, tmpfs: bool, binds: list[str]) -> dict[str, Any]:
    """What `runc spec` proposes, with Docker's capabilities; its masks and read-only paths are Docker's already."""
    subprocess.run(["runc", "spec"], cwd=folder, check=True)
    spec: dict[str, Any] = json.loads((folder / "config.json").read_text())
    held = [*DOCKER, "CAP_SYS_ADMIN"] if admin else DOCKER
    spec["process"] |= {
        "terminal": False, "args": words, "rlimits": [], "noNewPrivileges": False, "cwd": "/",
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"ESTIBA_ROOT={STORE}", "HOME=/"],
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
    }  # fmt: skip
    spec["root"]["readonly"] = False
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
    spec["mounts"] += [{"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]} for path in binds]
    if tmpfs:
        spec["mounts"].append({"destination": STORE, "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]})
    spec["linux"]["resources"] = {}
    spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] != "cgroup"]
    if not masked:
        spec["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
    return spec


@pytest.fixture
def outer(tmp_path: Path, alpine_tar: Path) -> Outer:
    """Runs a shell script in a container of runc's whose root is an overlay. $E is the command under test, $TAR Alpine."""
    estiba = command_under_test()
    import estiba as package

    source = Path(next(iter(package.__path__)))
    binds = sorted({*SHARED, str(Path(estiba[0]).parents[1]), str(source.parents[1]), str(alpine_tar.parent)})

    def run(script: str, *, admin: bool, masked: bool, tmpfs: bool) -> subprocess.CompletedProcess[str]:
        lower, bundle = tmp_path / "lower", tmp_path / "bundle"
        for folder in (lower, bundle, bundle / "rootfs", tmp_path / "scratch"):
            folder.mkdir()
        for name in ("bin", "lib", "lib64", "sbin"):
            (lower / name).symlink_to(f"usr/{name}")
        for name in ("tmp", "run", "etc"):
            (lower / name).mkdir()
        shutil.copytree("/etc/alternatives", lower / "etc/alternatives", symlinks=True)
        words = ["sh", "-c", f"E={shlex.quote(shlex.join(estiba))} TAR={alpine_tar}\n{script}"]
        kinds = {"admin": admin, "masked": masked, "tmpfs": tmpfs}
        spec = specification(bundle, words, binds=binds, **kinds)
        (bundle / "config.json").write_text(json.dumps(spec))
        mount = f"cd {tmp_path}/scratch; mkdir u w; mount -t overlay o -o lowerdir={lower},upperdir=u,workdir=w {bundle}/rootfs"
        inner = f"mount -t tmpfs t {tmp_path}/scratch; {mount}; cd {bundle}; exec runc --root {tmp_path}/runc run nested-{os.getpid()}"
        return subprocess.run(["unshare", "--mount", "sh", "-ec", inner], capture_output=True, text=True, timeout=120, check=False)

    return run


IMPORT = '$E import "$TAR" local/alpine >/dev/null || exit 99\n'


@pytest.mark.parametrize("admin", [False, True], ids=["docker's capabilities", "and CAP_SYS_ADMIN"])
@pytest.mark.parametrize("masked", [True, False], ids=["masked proc", "open proc"])
def test_a_container_runs_in_a_container(outer: Outer, admin: bool, masked: bool) -> None:
    script = IMPORT + "$E run --rm local/alpine sh -c 'id -u; touch /made && echo made; cat /proc/keys | wc -c; exit 7'"
    done = outer(script, admin=admin, masked=masked, tmpfs=True)
    assert (done.returncode, done.stdout.split()) == (7, ["0", "made", "0"]), done.stderr


@pytest.mark.parametrize("admin", [False, True], ids=["docker's capabilities", "and CAP_SYS_ADMIN"])
def test_a_store_on_the_overlay_is_refused_with_the_one_thing_to_add(outer: Outer, admin: bool) -> None:
    done = outer(IMPORT + "$E run --rm local/alpine true", admin=admin, masked=True, tmpfs=False)
    assert done.returncode == 125
    message, hint = done.stderr.splitlines()
    assert message == f"estiba: cannot run a container: the store {STORE} is on overlayfs, which cannot hold a container's changes"
    assert "a volume or a tmpfs" in hint


def test_sysctls_need_a_proc_of_ones_own(outer: Outer) -> None:
    script = IMPORT + "$E run --rm --sysctl net.core.somaxconn=9 local/alpine cat /proc/sys/net/core/somaxconn"
    done = outer(script, admin=True, masked=True, tmpfs=True)
    assert done.returncode == 125
    assert "systempaths=unconfined" in done.stderr


def test_sysctls_with_an_open_proc(outer: Outer) -> None:
    script = IMPORT + "$E run --rm --sysctl net.core.somaxconn=9 local/alpine cat /proc/sys/net/core/somaxconn"
    assert outer(script, admin=True, masked=False, tmpfs=True).stdout == "9\n"
