"""The engines that are compared: how each runs `true` in a container, pulls an image, and where its bytes are.

Each has folders of its own, so that nothing of the machine's other containers is read or changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cgroups
from bench.dockerd import PrivateDockerd, available
from bench.measure import Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import ExitStack

IMAGE = "bench/alpine"
CGROUP = f"estiba-bench-{os.getpid()}"


def call(command: Sequence[str], environment: Mapping[str, str] | None = None, **options: str | bytes | Path) -> str:
    """Runs a command and returns its output; its standard error is shown when it fails."""
    done = subprocess.run(
        list(command),
        env=None if environment is None else dict(environment),
        capture_output=True,
        check=False,
        **options,  # type: ignore[call-overload]  # input and cwd only
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return str(done.stdout.decode(errors="replace"))


class Engine:
    """An engine that keeps images. `words` precede every verb."""

    name = ""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], data: Path) -> None:
        self.words = list(words)
        self.environment = dict(environment)
        self.data = data

    def call(self, *verb: str) -> str:
        return call([*self.words, *verb], self.environment)

    def import_tar(self, tar: Path, reference: str) -> None:
        self.call("import", str(tar), reference)

    def run_true(self, reference: str = IMAGE) -> Job:
        return Job([*self.words, "run", "--rm", "--network", "none", reference, "true"], self.environment)

    def pull(self, reference: str) -> Job:
        return Job([*self.words, "pull", "--quiet", reference], self.environment)

    def version(self) -> str:
        return self.call("--version").strip()

    def bytes_on_disk(self) -> int:
        """Blocks that the engine's folder takes; a file with many names counts once (du(1))."""
        os.sync()
        return int(call(["du", "--summarize", "--block-size=1", str(self.data)]).split()[0])


class Estiba(Engine):
    name = "estiba"


class Docker(Engine):
    name = "docker"


class Podman(Engine):
    name = "podman"

    def run_true(self, reference: str = IMAGE) -> Job:
        # Its default raises limits, which root without CAP_SYS_RESOURCE may not.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", f"--cgroup-parent={CGROUP}"]
        return Job([*self.words, "run", "--rm", "--network", "none", *limits, reference, "true"], self.environment)

    def pull(self, reference: str) -> Job:
        return Job([*self.words, "pull", "--quiet", "--tls-verify=false", reference], self.environment)


class Bundle:
    """A low-level runtime on an unpacked bundle: no image, no store, no network set-up of its own."""

    def __init__(self, name: str, folder: Path, rootfs: Path) -> None:
        self.name = name
        self._state = folder / "state"
        self._bundle = folder / "bundle"
        self._bundle.mkdir(parents=True)
        call([name, "spec"], cwd=self._bundle)
        file = self._bundle / "config.json"
        spec = json.loads(file.read_text())
        spec["process"] |= {"args": ["true"], "terminal": False}
        spec["root"] = {"path": str(rootfs), "readonly": True}
        file.write_text(json.dumps(spec))

    def run_true(self) -> Job:
        words = [self.name, "--root", str(self._state), "run", "--bundle", str(self._bundle)]
        return Job([*words, f"bench-{self.name}-{os.getpid()}"])

    def version(self) -> str:
        return call([self.name, "--version"]).splitlines()[0]


class Bubblewrap:
    """Not an engine: namespaces around a folder, the least that a program can do."""

    name = "bubblewrap"

    def __init__(self, rootfs: Path) -> None:
        self._rootfs = rootfs

    def run_true(self) -> Job:
        mounts = ["--bind", str(self._rootfs), "/", "--proc", "/proc", "--dev", "/dev"]
        return Job(["bwrap", "--unshare-all", "--die-with-parent", *mounts, "true"])

    def version(self) -> str:
        return call(["bwrap", "--version"]).strip()


def estiba(folder: Path) -> Estiba:
    from tests.support.command import command_under_test

    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ESTIBA_ROOT": str(folder / "root"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    (folder / "run").mkdir(mode=0o700, parents=True)
    return Estiba(command_under_test(), environment, folder / "root")


def docker(stack: ExitStack) -> Docker:
    daemon = stack.enter_context(PrivateDockerd())
    return Docker(daemon.command(), os.environ, daemon.data)


def podman(folder: Path, stack: ExitStack) -> Podman:
    data = folder / "root"
    words = [
        "podman",
        f"--root={data}",
        f"--runroot={folder}/runroot",
        f"--tmpdir={folder}/tmp",
        "--storage-driver=overlay",
        "--runtime=runc",  # crun refuses hosts with both versions of cgroups
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
    ]
    engine = Podman(words, os.environ, data)
    stack.callback(cgroups.remove, CGROUP)
    stack.callback(engine.call, "system", "reset", "--force")
    return engine


def image_engines(folder: Path, stack: ExitStack) -> Iterator[Engine]:
    """estiba, and whichever of docker and podman is installed and may run here."""
    yield estiba(folder / "estiba")
    if available():
        yield docker(stack)
    if os.geteuid() == 0 and shutil.which("podman"):
        yield podman(folder / "podman", stack)


def why_not(job: Job) -> str:
    """The last line of what a command says when it does not work on this machine; empty when it works."""
    done = subprocess.run(list(job.command), env=job.environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]


def bare_runtimes(folder: Path, rootfs: Path) -> Iterator[Bundle | Bubblewrap]:
    """Whichever of runc, crun and bubblewrap is installed and may run here."""
    if os.geteuid() == 0:
        for name in ("runc", "crun"):
            if shutil.which(name):
                yield Bundle(name, folder / name, rootfs)
    if shutil.which("bwrap"):
        yield Bubblewrap(rootfs)
