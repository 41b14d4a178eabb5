"""Other engines with estiba as their OCI runtime: containerd, Docker, Podman and Buildah of this machine, each a private one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.dockerd import PrivateDockerd
from tests.support.bundles import RUNTIME
from tests.support.plans import make_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Engine = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the engines are root's")


def engine(command: Sequence[str], environment: dict[str, str] | None = None) -> Engine:
    def call(*words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, env=environment, check=False)
        if status is not None:
            assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    return call


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="estiba-engine-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        make_image(Path(name))
        yield Path(name)


@pytest.fixture
def archive(folder: Path) -> Path:
    subprocess.run(["tar", "-C", str(folder / "base"), "-cf", str(folder / "box.tar"), "."], check=True)
    return folder / "box.tar"


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_containerd(folder: Path) -> None:
    socket = folder / "containerd.sock"
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{socket}"\n'
    )
    with (folder / "log").open("wb") as log, subprocess.Popen(["containerd", "-c", f"{folder}/config.toml"], stdout=log, stderr=log) as daemon:
        try:
            ctr = engine(["ctr", "--address", str(socket)])
            wait_until(lambda: ctr("version", status=None).returncode == 0)
            run = ("run", "--runc-binary", RUNTIME, "--rootfs")
            root = str(folder / "base")
            assert ctr(*run, "--rm", root, "one", "/bin/sh", "-c", "echo $((40 + 2)); exit 7", status=7).stdout == "42\n"
            assert "executable file not found in $PATH" in ctr(*run, "--rm", root, "two", "nowhere", status=1).stderr
            ctr("containers", "rm", "two", status=None)
            ctr(*run, "--detach", root, "long", "/bin/sleep", "1000")
            assert "/bin/sleep 1000" in ctr("tasks", "exec", "--exec-id", "e", "long", "/bin/ps").stdout
            ctr("tasks", "pause", "long")
            assert "PAUSED" in ctr("tasks", "ls").stdout
            ctr("tasks", "resume", "long")
            ctr("tasks", "kill", "--signal", "SIGKILL", "long")
            wait_until(lambda: "STOPPED" in ctr("tasks", "ls").stdout)
            ctr("tasks", "rm", "long", status=None)
            ctr("containers", "rm", "long")
        finally:
            daemon.terminate()


@pytest.fixture
def docker(archive: Path) -> Iterator[Engine]:
    with PrivateDockerd({"estiba": RUNTIME}) as daemon:
        call = engine(daemon.command())
        call("import", str(archive), "box")
        yield call


def test_docker(docker: Engine) -> None:
    run = ("run", "--rm", "--runtime", "estiba", "--network", "none")
    assert docker(*run, "box", "/bin/sh", "-c", "hostname | wc -c; exit 5", status=5).stdout == "13\n"
    docker(*run, "box", "nowhere", status=127)
    limited = docker(*run, "--read-only", "--user", "12:13", "--cap-drop", "ALL", "--memory", "64m", "--pids-limit", "20", "box", "/bin/id")
    assert limited.stdout == "uid=12 gid=13 groups=13\n"
    name = docker("run", "--detach", "--runtime", "estiba", "--network", "none", "box", "/bin/sleep", "1000").stdout.strip()
    assert "sleep 1000" in docker("exec", name, "/bin/ps").stdout
    docker("exec", name, "nowhere", status=126)
    docker("pause", name)
    assert json.loads(docker("inspect", name).stdout)[0]["State"]["Status"] == "paused"
    docker("unpause", name)
    docker("update", "--memory", "32m", "--memory-swap", "32m", name)
    docker("restart", "--time", "0", name)
    assert "sleep" in docker("top", name).stdout
    docker("rm", "--force", name)


def test_podman(folder: Path, archive: Path) -> None:
    (folder / "containers.conf").write_text(
        '[engine]\nevents_logger = "file"\n[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
    )
    environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
    stores = ["--root", f"{folder}/pod", "--runroot", f"{folder}/podrun", "--storage-driver", "vfs"]
    podman = engine(["podman", *stores, "--cgroup-manager", "cgroupfs", "--runtime", RUNTIME], environment)
    podman("import", str(archive), "localhost/box")
    run = ("run", "--rm", "--network", "none", "localhost/box")
    assert podman(*run, "/bin/sh", "-c", "echo $((40 + 2)); exit 4", status=4).stdout == "42\n"
    podman(*run, "nowhere", status=127)
    name = podman("run", "--detach", "--network", "none", "localhost/box", "/bin/sleep", "1000").stdout.strip()
    assert "sleep 1000" in podman("exec", name, "/bin/ps").stdout
    podman("pause", name)
    podman("unpause", name)
    podman("rm", "--force", "--time", "0", name)
    podman("rmi", "localhost/box")
    shutil.rmtree(folder / "pod", ignore_errors=True)


def test_buildah(folder: Path, archive: Path) -> None:
    """The twin has another runtime, which does nothing: so it is estiba that runs the programs."""
    buildah = engine(["buildah", "--root", f"{folder}/build", "--runroot", f"{folder}/buildrun", "--storage-driver", "vfs"])
    through = ("--isolation", "oci", "--network", "none", "--runtime")
    (folder / "Containerfile").write_text(f'FROM scratch\nADD {archive.name} /\nRUN ["/bin/sh", "-c", "echo $((40 + 2)) > /made"]\n')
    build = ("bud", "--tag", "localhost/made", *through)
    assert "exit status 1" in buildah(*build, "/bin/false", str(folder), status=1).stderr
    buildah(*build, RUNTIME, str(folder))
    buildah("push", "localhost/made", f"oci:{folder}/layout:made")
    buildah("rmi", "--all", "--force")
    buildah("from", "--name", "one", f"oci:{folder}/layout:made")
    assert buildah("run", *through, RUNTIME, "one", "/bin/cat", "/made").stdout == "42\n"
    buildah("run", *through, RUNTIME, "--user", "12:13", "one", "/bin/sh", "-c", "exit $(id -u)", status=12)
    assert "estiba: cannot run nowhere" in buildah("run", *through, RUNTIME, "one", "nowhere", status=1).stderr
    buildah("rm", "--all")
    buildah("rmi", "--all", "--force")
