"""The life of a container beyond what Docker does: what a boot cuts off, what is kept for later starts, who waits for whom."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE, Remains, groups
from tests.support.plans import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Command


pytestmark = pytest.mark.host


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def boot(remains: Remains) -> None:
    """What a boot does to this store's volatile state: it goes, but for what the tests' own store is not."""
    status = os.stat(remains.root / "containers")
    (remains.runtime / "stores" / f"{status.st_dev}-{status.st_ino}").unlink(missing_ok=True)
    for record in remains.records:
        record.unlink()


def test_first_command_after_a_boot_removes_what_was_cut_off(engine: Callable[..., str], remains: Remains) -> None:
    half, names = "a" * 64, remains.root / "containers" / "names"
    engine("create", "--name", "stays", IMAGE, "true")
    engine("create", "--rm", "--name", "fresh", IMAGE, "true")
    (remains.root / "containers" / half / "upper").mkdir(parents=True)
    (names / "half").symlink_to(half)
    (names / "lost").symlink_to("b" * 64)
    engine("ps")
    assert (names / "half").is_symlink(), "only a boot makes it nobody's"
    boot(remains)
    engine("ps")
    assert {path.name for path in names.iterdir()} == {"stays", "fresh"}
    assert half not in remains.containers()


@pytest.mark.parametrize("marked", [True, False], ids=["running", "being restarted"])
def test_first_command_after_a_boot_removes_what_goes_with_its_run(engine: Callable[..., str], remains: Remains, marked: bool) -> None:
    """A container of --rm whose machine was switched off, made of one that has ended without its monitor."""
    container = engine("create", "--rm", "--name", "cut", IMAGE, "true")
    folder = remains.root / "containers" / container
    if marked:
        (folder / "name").symlink_to("cut")
    (folder / "status").write_text("running 1 1 1\n")
    assert engine("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "cut") == "exited 255"
    boot(remains)
    engine("ps")
    assert not remains.gone()


def test_what_a_killed_rm_began_is_no_longer_meant_after_a_start(engine: Callable[..., str], remains: Remains) -> None:
    """The mark by which its monitor would take the container away is of the run that was to be killed; without a start it counts."""
    container = engine("create", "--name", "kept", IMAGE, "true")
    mark = remains.root / "containers" / container / "name"
    mark.symlink_to("kept")
    engine("start", "-a", "kept")
    assert engine("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "kept") == "exited 0"
    assert not mark.is_symlink()
    engine("run", "-d", "--name", "goes", IMAGE, "sleep", "1000")
    (remains.root / "containers" / engine("inspect", "-f", "{{.Id}}", "goes") / "name").symlink_to("goes")
    engine("kill", "goes")
    assert not remains.containers() - {container}


def test_rm_of_a_running_one_is_its_monitors_work(engine: Callable[..., str], remains: Remains) -> None:
    """So it needs no later command, and tells of the end once; one whose monitor cannot do it goes all the same."""
    for killed in (False, True):
        container = engine("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
        if killed:
            keeper = parent(int(engine("inspect", "-f", "{{.State.Pid}}", "box")))
            os.kill(keeper, signal.SIGSTOP)  # so that it does not replace the other
            for pid in (parent(keeper), keeper):
                os.kill(pid, signal.SIGKILL)
        begin = f"{time.time():.6f}"
        engine("rm", "-f", "box")
        assert container not in remains.containers()
        assert not (remains.root / "containers" / "names" / "box").is_symlink()
        told = engine("events", "--since", begin, "--until", f"{time.time():.6f}", "--format", "{{.Action}}", "-f", f"container={container}")
        assert told.split() == (["die", "destroy"] if killed else ["kill", "die", "destroy"])
        assert not remains.gone({container})


def test_id_is_told_or_the_reason_why_not(engine: Callable[..., str], environment: dict[str, str], remains: Remains) -> None:
    words = [*command_under_test(), "run", "-d", "--name", "silent", IMAGE, "sleep", "1000"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            words, env=environment | {"ESTIBA_ROOT": str(remains.root)}, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "estiba: cannot write standard output: write error: No space left on device\n")
    assert engine("ps", "--format", "{{.Names}} {{.State}}") == "silent running"


def test_profile_of_the_filter_is_that_of_the_creation(engine: Callable[..., str], tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}))
    engine("create", "--name", "filtered", "--security-opt", f"seccomp={profile}", IMAGE, "mkdir", "/made")
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    assert "not permitted" in engine("start", "-a", "filtered", status=1)
    profile.unlink()
    assert "not permitted" in engine("start", "-a", "filtered", status=1)


def test_every_device_is_there_at_the_second_start(engine: Callable[..., str]) -> None:
    engine("create", "--name", "nodes", "--privileged", IMAGE, "sh", "-c", "test -c /dev/fuse && mkdir -p /dev/mine/deep && echo yes")
    for _ in range(2):
        assert engine("start", "-a", "nodes") == "yes"


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_start_on_its_way_is_waited_for(engine: Callable[..., str], environment: dict[str, str], remains: Remains, verb: str) -> None:
    """Who asks for the end while the program is about to run does not come too early."""
    container = engine("create", "--name", "quick", IMAGE, "sleep", "1000")
    with (remains.root / "containers" / container / "status").open("rb") as launch:
        fcntl.flock(launch, fcntl.LOCK_EX)
        words = [*command_under_test(), verb, "quick"]
        asking = subprocess.Popen(words, env=environment | {"ESTIBA_ROOT": str(remains.root)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        assert asking.poll() is None
    assert asking.communicate(timeout=30)[0] == (b"quick\n" if verb == "stop" else b"")
    assert asking.returncode == (0 if verb == "stop" else 1)


def test_exposed_ports_are_found(engine: Callable[..., str]) -> None:
    engine("create", "--name", "exposing", "--expose", "8080", "--expose", "53/udp", IMAGE, "true")
    engine("create", "--name", "silent", IMAGE, "true")
    found = {text: engine("ps", "-a", "--format", "{{.Names}}", "-f", text) for text in ("expose=8000-8100/tcp", "expose=53/udp", "expose=53", "publish=8080")}
    assert found == {"expose=8000-8100/tcp": "exposing", "expose=53/udp": "exposing", "expose=53": "", "publish=8080": ""}
    assert "not PORT" in engine("ps", "-f", "expose=many", status=125)


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_several_take_their_time_together(engine: Callable[..., str], tmp_path: Path, verb: str) -> None:
    """The first ends when the second was asked to, and is never killed: one after the other it would take for ever."""
    waits, tells = "until [ -e /shared/asked ]; do sleep 0.05; done; exit 0", "touch /shared/asked; exit 0"
    tmp_path.chmod(0o777)
    for name, trap in (("first", waits), ("second", tells)):
        text = f"trap '{trap}' TERM; touch /shared/{name}; while :; do sleep 0.05; done"
        engine("run", "-d", "--name", name, "-v", f"{tmp_path}:/shared", IMAGE, "sh", "-c", text)
    deadline = time.monotonic() + 20
    while not {"first", "second"} <= set(os.listdir(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert engine(verb, "-t", "-1", "first", "second").split() == ["first", "second"]
    states = engine("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "first", "second").splitlines()
    assert states == ["exited 0" if verb == "stop" else "running 0"] * 2


def test_folders_of_control_groups_come_and_go(engine: Callable[..., str]) -> None:
    """Whoever starts makes the folder again that another one has just taken away; in the end it is not there."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine("run", "--rm", "-m", "64m", IMAGE, "true"), range(24)))
    container = engine("run", "-d", "--name", "stays", IMAGE, "sleep", "1000")
    folders = [Path(group).parent for group in groups({container})]
    assert {folder.name for folder in folders} == {"estiba"}
    engine("rm", "-f", "stays")

    def are_gone() -> bool:
        return not any(folder.exists() and not any(entry.is_dir() for entry in folder.iterdir()) for folder in folders)

    until(are_gone, "the folders' removal, unless containers of others are in them")


def test_nothing_is_kept_of_stores_that_are_gone(engine: Callable[..., str], estiba: Command, remains: Remains, tmp_path: Path) -> None:
    stores, root = remains.runtime / "stores", tmp_path / "other"
    estiba("ps", ESTIBA_ROOT=str(root))
    status = os.stat(root / "containers")
    key = f"{status.st_dev}-{status.st_ino}"
    for name in (f"{key}.events", f"{key}.events.1", "0-0", "0-0.events"):
        (stores / name).touch()
    boot(remains)
    engine("ps")
    assert (stores / key).read_text() == str(root / "containers"), "it is there"
    shutil.rmtree(root)
    boot(remains)
    engine("ps")
    assert not list(stores.glob(f"{key}*"))
    assert {path.name for path in stores.glob("0-0*")} == {"0-0", "0-0.events"}, "of one that is just being made"
    for path in stores.glob("0-0*"):
        path.unlink()
