"""A private dockerd for comparisons: its own folders and socket, no bridge, no firewall rules, stopped by its pid.

Root only. It touches no other docker on the machine, and what it leaves is removed with its folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench import cgroups

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

START_SECONDS = 60.0
STOP_SECONDS = 30.0


def available() -> bool:
    return os.geteuid() == 0 and shutil.which("dockerd") is not None and shutil.which("docker") is not None


class PrivateDockerd:
    """Runs from `with` to its end; `.command(...)` is a docker command line that talks to it."""

    def __init__(self, runtimes: Mapping[str, str] | None = None) -> None:
        """`runtimes` are names of OCI runtimes and the paths of their programs."""
        self._config = {"runtimes": {name: {"path": path} for name, path in (runtimes or {}).items()}}
        self.folder = Path(tempfile.mkdtemp(prefix="estiba-dockerd-"))
        self.socket = f"unix://{self.folder}/docker.sock"
        self._cgroup_parent = f"estiba-dockerd-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def command(self, *words: str) -> list[str]:
        return ["docker", "--host", self.socket, *words]

    def __enter__(self) -> Self:
        (self.folder / "daemon.json").write_text(json.dumps(self._config))
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--config-file={self.folder}/daemon.json",
                    f"--data-root={self.data}",
                    f"--exec-root={self.folder}/exec",
                    f"--pidfile={self.folder}/pid",
                    f"--host={self.socket}",
                    f"--cgroup-parent={self._cgroup_parent}",
                    "--group=root",
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--ip-forward=false",
                    "--ip-masq=false",
                    "--userland-proxy=false",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(self.command("version"), capture_output=True, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.__exit__(None, None, None)
                raise RuntimeError(f"dockerd did not start:\n{said}")
            time.sleep(0.1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", target], check=False)
        # containerd, its child, may still be writing its last words.
        deadline = time.monotonic() + STOP_SECONDS
        while self.folder.exists() and time.monotonic() < deadline:
            shutil.rmtree(self.folder, ignore_errors=True)
            time.sleep(0.05)
        cgroups.remove(self._cgroup_parent)
