"""Bundles with busybox, and the OCI runtime that runs them."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command import command_under_test
from tests.support.plans import make_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RUNTIME = os.environ.get("RUNTIME_UNDER_TEST") or os.path.join(os.path.dirname(command_under_test()[0]), "estiba-runtime")
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/bin", "TERM=dumb"],
        "cwd": "/",
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "hostname": "bundle",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]},
}


class BundleRuntime:
    """A bundle, its config, and the runtime with a folder of states of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.states = folder / "states"
        self.runtime = RUNTIME
        (folder / "bundle").mkdir()
        make_image(folder / "bundle")
        (folder / "bundle" / "base").rename(folder / "bundle" / "rootfs")
        self.root = folder / "bundle" / "rootfs"
        self.config = copy.deepcopy(CONFIG)

    def shell(self, script: str) -> None:
        self.config["process"]["args"] = ["/bin/sh", "-c", script]

    def __call__(self, *words: str, status: int | None = 0, through: Sequence[str] = (), **more: Any) -> subprocess.CompletedProcess[str]:
        (self.folder / "bundle" / "config.json").write_text(json.dumps(self.config))
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        more = {key: value for key, value in more.items() if value is not None}
        done = subprocess.run(
            [*through, self.runtime, "--root", str(self.states), *words], cwd=self.folder / "bundle", timeout=60, text=True, check=False, **more
        )
        assert "Traceback" not in (done.stderr or ""), done.stderr
        if status is not None:
            assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self("state", self.name).stdout)
        return state

    def wait_for(self, status: str) -> None:
        deadline = time.monotonic() + 30
        while (now := self.state()["status"]) != status:
            assert time.monotonic() < deadline, now
            time.sleep(0.02)

    def create(self, *flags: str) -> Path:
        """Creates it, its output into the file that is returned: nobody waits for the end of a pipe."""
        output = self.folder / "output"
        with output.open("wb") as file:
            self("create", *flags, self.name, stdout=file, stderr=file)
        return output

    def cgroups(self) -> list[Path]:
        """Its control groups. Others come and go meanwhile, which a walk passes over."""
        return [Path(folder) / self.name for folder, names, _ in os.walk("/sys/fs/cgroup") if self.name in names]


@pytest.fixture
def bundle() -> Iterator[BundleRuntime]:
    with tempfile.TemporaryDirectory(prefix="estiba-bundle-") as name:
        os.chmod(name, 0o755)  # root of a user namespace looks at the bundle
        runtime = BundleRuntime(Path(name), f"test-{os.getpid()}-{time.monotonic_ns()}")
        yield runtime
        runtime("delete", "--force", runtime.name, status=None)
        assert runtime.cgroups() == []
