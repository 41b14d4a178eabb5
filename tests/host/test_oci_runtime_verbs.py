"""What the OCI runtime face does with a container that runs: exec, ps, events, pause, resume, update; and features."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.bundles import RUNTIME
from tests.support.cgroups import without_cgroups

if TYPE_CHECKING:
    from tests.support.bundles import BundleRuntime


@pytest.fixture
def running(bundle: BundleRuntime) -> BundleRuntime:
    bundle.shell("exec sleep 1000")
    bundle.create()
    bundle("start", bundle.name)
    return bundle


def test_exec_is_in_the_container(running: BundleRuntime) -> None:
    pid = running.state()["pid"]
    done = running("exec", running.name, "sh", "-c", "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; hostname; cat /proc/self/cgroup; exit 6", status=6)
    lines = done.stdout.splitlines()
    assert lines[:6] == [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup")]
    assert lines[6] == "bundle"
    assert {line.rpartition(":")[2] for line in lines[7:] if not line.startswith("0:")} <= {"/"}


def test_exec_has_the_processs_limits_and_what_is_asked(running: BundleRuntime) -> None:
    script = "id -u; id -g; id -G; pwd; echo $MINE; grep -E 'NoNewPrivs|CapBnd' /proc/self/status"
    done = running("exec", "-u", "1000:1001", "-g", "10", "--cwd", "/tmp", "-e", "MINE=yes", "-c", "CAP_CHOWN", running.name, "sh", "-c", script)
    assert done.stdout.split() == ["1000", "1001", "1001", "10", "/tmp", "yes", "CapBnd:", "0000000020000421", "NoNewPrivs:", "1"]


def test_exec_of_a_process_file_is_reparented(running: BundleRuntime) -> None:
    process = dict(running.config["process"], args=["/bin/sh", "-c", "exit 8"])
    (running.folder / "process.json").write_text(json.dumps(process))
    script = (
        "import ctypes, os, subprocess, sys\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "subprocess.run(sys.argv[1:], check=True)\n"
        "print(os.wait()[0], os.waitstatus_to_exitcode(0))\n"
    )
    pid_file = running.folder / "exec.pid"
    words = ["exec", "--detach", "--pid-file", str(pid_file), "--process", str(running.folder / "process.json"), running.name]
    command = ["python3", "-c", script, RUNTIME, "--root", str(running.states), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split()[0] == pid_file.read_text(), done.stderr


def test_exec_of_what_is_not_there(running: BundleRuntime) -> None:
    assert "executable file not found in $PATH" in running("exec", running.name, "nowhere", status=255).stderr
    assert "permission denied" in running("exec", running.name, "/etc/passwd", status=255).stderr
    assert "does not exist" in running("exec", "nobody", "true", status=255).stderr
    running("kill", running.name, "KILL")
    running.wait_for("stopped")
    assert "stopped" in running("exec", running.name, "true", status=255).stderr


def test_exec_shows_no_descriptor_of_the_host(running: BundleRuntime) -> None:
    """A program of the image's choice may be a path through a descriptor (CVE-2024-21626)."""
    outside = running.folder / "true"
    shutil.copy("/bin/busybox", outside)
    trap = running.root / "bin" / "true-too"
    for number in range(3, 16):
        trap.symlink_to(f"/proc/self/fd/{number}/../../../../../../../..{outside}")
        assert running("exec", running.name, "/bin/true-too", status=255).stdout == ""
        trap.unlink()
    trap.symlink_to("/proc/self/root/bin/true")
    assert "applet not found" in running("exec", running.name, "/bin/true-too", status=127).stderr  # the twin: it is executed


def test_exec_with_a_terminal_copies_it(running: BundleRuntime) -> None:
    master, slave = pty.openpty()
    try:
        (running.folder / "bundle" / "config.json").write_text(json.dumps(running.config))
        command = [RUNTIME, "--root", str(running.states), "exec", "-t", running.name, "sh", "-c", "tty; stty -echo; read -r x; echo got $x"]
        with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
            os.close(slave)
            said = b""
            while b"/dev/pts/" not in said:
                said += os.read(master, 1000)
            os.write(master, b"it\r")
            while b"got it" not in said:
                said += os.read(master, 1000)
            assert process.wait(60) == 0
    finally:
        os.close(master)


def test_ps(running: BundleRuntime) -> None:
    pid = running.state()["pid"]
    assert json.loads(running("ps", "-f", "json", running.name).stdout) == [pid]
    lines = running("ps", running.name, "-o", "pid,args").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["PID", str(pid)]


def test_pause_and_resume(running: BundleRuntime) -> None:
    running("pause", running.name)
    assert running.state()["status"] == "paused"
    assert "paused" in running("pause", running.name, status=1).stderr
    assert "paused" in running("exec", running.name, "true", status=255).stderr
    running("resume", running.name)
    assert running.state()["status"] == "running"
    assert "running" in running("resume", running.name, status=1).stderr
    running("pause", running.name)
    running("delete", "--force", running.name)


def test_events(running: BundleRuntime) -> None:
    event = json.loads(running("events", "--stats", running.name).stdout)
    assert (event["type"], event["id"]) == ("stats", running.name)
    assert event["data"]["pids"]["current"] == 1
    assert event["data"]["memory"]["usage"]["usage"] > 0
    assert event["data"]["cpu"]["usage"]["total"] > 0


def test_update_changes_what_it_names(running: BundleRuntime) -> None:
    running("update", "--pids-limit", "20", "--memory", "64m", running.name)
    [limit] = {(path / "pids.max").read_text() for path in running.cgroups() if (path / "pids.max").exists()}
    assert limit == "20\n"
    running("update", "-r", "-", running.name, stdin=None, input='{"pids": {"limit": 30}}')
    assert json.loads(running("events", "--stats", running.name).stdout)["data"]["pids"]["limit"] == 30
    assert json.loads(running("events", "--stats", running.name).stdout)["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert "cannot set" in running("update", "--cpuset-cpus", "4000", running.name, status=1).stderr


VERSION_2 = without_cgroups()


@pytest.mark.parametrize("through", [[], VERSION_2], ids=["of this machine", "of version 2"])
def test_devices_are_those_of_the_rules(bundle: BundleRuntime, through: list[str]) -> None:
    """The twin has the rule that allows what the first one lacks."""
    device = {"path": "/dev/mem-like", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}
    bundle.config["linux"]["devices"] = [device]
    bundle.shell("(: < /dev/mem-like); echo $?; (: < /dev/zero) && echo zero")
    denied = bundle("run", bundle.name, through=through)
    assert "not permitted" in denied.stderr
    assert denied.stdout.split() == ["1", "zero"]
    bundle.config["linux"]["resources"] = {"devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}
    assert "not permitted" not in bundle("run", bundle.name, through=through).stderr


@pytest.mark.parametrize("through", [[], VERSION_2], ids=["of this machine", "of version 2"])
def test_a_rule_of_both_types_is_not_one_of_everything(bundle: BundleRuntime, through: list[str]) -> None:
    """Version 1 takes the type `a` for every device: 10:* would open 1:2, too. The twin is a rule of everything."""
    bundle.config["linux"]["devices"] = [{"path": "/dev/port-like", "type": "c", "major": 1, "minor": 4, "fileMode": 0o666}]
    bundle.shell("(: < /dev/port-like) 2>&1; (: < /dev/zero) && echo zero")
    for rule, denied in (({"allow": True, "major": 10}, True), ({"allow": True}, False)):
        bundle.config["linux"]["resources"] = {"devices": [rule]}
        said = bundle("run", bundle.name, through=through).stdout
        assert ("not permitted" in said) == denied
        assert said.endswith("zero\n")


def test_exec_is_under_the_rules_of_devices_of_version_2(bundle: BundleRuntime) -> None:
    bundle.config["linux"]["devices"] = [{"path": "/dev/mem-like", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    bundle.shell("exec sleep 1000")
    with (bundle.folder / "output").open("wb") as output:
        bundle("run", "--detach", bundle.name, through=VERSION_2, stdout=output, stderr=output)
    script = "(: < /dev/mem-like); (: < /dev/zero) && echo zero"
    done = bundle("exec", bundle.name, "sh", "-c", script, through=VERSION_2)
    assert "not permitted" in done.stderr
    assert done.stdout == "zero\n"
    rules = '{"devices": [{"allow": true, "access": "rwm"}]}'
    assert "of its creation" in bundle("update", "-r", "-", bundle.name, through=VERSION_2, status=1, stdin=None, input=rules).stderr


def test_a_group_that_was_there_has_the_rules_of_the_last_container(bundle: BundleRuntime) -> None:
    """It is not removed with a container, and neither is its program; the twin is the first container."""
    unified = next(line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line)
    group = Path(unified, bundle.name)
    group.mkdir()
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.name}"
    bundle.config["linux"]["devices"] = [{"path": "/dev/mem-like", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    bundle.shell("(: < /dev/mem-like) 2>&1; true")
    for rules in ([], [{"allow": True, "access": "r"}]):
        bundle.config["linux"]["resources"] = {"devices": rules}
        said = bundle("run", bundle.name, through=VERSION_2).stdout
        assert ("not permitted" in said) == (not rules), said
    group.rmdir()


def test_devices_that_nothing_would_limit_are_refused(bundle: BundleRuntime) -> None:
    through = without_cgroups("devices")
    if through == without_cgroups("no such controller"):
        return  # version 2 has no such controller to miss
    assert "no control group of devices" in bundle("run", bundle.name, through=through, status=1).stderr


def test_features_are_true(bundle: BundleRuntime) -> None:
    told = json.loads(bundle("features").stdout)
    assert told["ociVersionMax"].startswith("1.")
    assert set(told["hooks"]) == {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
    assert {"ro", "rbind", "rshared", "rro"} <= set(told["mountOptions"])
    assert told["linux"]["seccomp"]["enabled"]


def test_version_is_in_the_lines_of_runc(bundle: BundleRuntime) -> None:
    lines = bundle("--version").stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["estiba-runtime", "commit:", "spec:"]
