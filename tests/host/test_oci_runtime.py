"""The OCI runtime face on bundles of its own: the life of a container, and that config.json alone says what it is."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estiba.linux.process import start_time
from tests.support.bundles import RUNTIME

if TYPE_CHECKING:
    from tests.support.bundles import BundleRuntime


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# --- life ------------------------------------------------------------------------------------------------------------------


def test_create_holds_the_program_until_start(bundle: BundleRuntime) -> None:
    bundle.shell("echo ran; exit 3")
    output = bundle.create("--pid-file", str(bundle.folder / "pid"))
    state = bundle.state()
    assert state["status"] == "created"
    assert state["bundle"] == str(bundle.folder / "bundle")
    assert (bundle.folder / "pid").read_text() == str(state["pid"])
    assert output.read_text() == ""
    bundle("start", bundle.name)
    bundle.wait_for("stopped")
    assert output.read_text() == "ran\n"
    bundle("start", bundle.name, status=1)
    bundle("delete", bundle.name)
    assert "does not exist" in bundle("state", bundle.name, status=1).stderr


def test_nobody_stays_between_the_caller_and_the_program(bundle: BundleRuntime) -> None:
    """Whoever is a subreaper above `create` becomes the program's parent, and waits for it."""
    bundle.shell("exit 7")
    (bundle.folder / "bundle" / "config.json").write_text(json.dumps(bundle.config))
    script = (
        "import ctypes, os, subprocess, sys\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "runtime, states, name = sys.argv[1:]\n"
        "subprocess.run([runtime, '--root', states, 'create', name], check=True)\n"
        "subprocess.run([runtime, '--root', states, 'start', name], check=True)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    command = ["python3", "-c", script, RUNTIME, str(bundle.states), bundle.name]
    done = subprocess.run(command, cwd=bundle.folder / "bundle", capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr


def test_run_is_the_parent_and_deletes(bundle: BundleRuntime) -> None:
    bundle.shell("echo $PPID $$; exit 5")
    assert bundle("run", bundle.name, status=5).stdout == "0 1\n"
    assert bundle("list", "-q").stdout == ""


def test_run_passes_signals_on(bundle: BundleRuntime) -> None:
    bundle.shell("trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    bundle("list")
    (bundle.folder / "bundle" / "config.json").write_text(json.dumps(bundle.config))
    command = [RUNTIME, "--root", str(bundle.states), "run", bundle.name]
    with subprocess.Popen(command, cwd=bundle.folder / "bundle", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == "told\n"
    assert process.returncode == 9


def test_signals_behind_the_end_reach_nobody(bundle: BundleRuntime) -> None:
    """The number of a process that was waited for may be another's. SIGURG ends nobody by itself (signal(7))."""
    bundle.shell("exit 3")
    (bundle.folder / "bundle" / "config.json").write_text(json.dumps(bundle.config))
    words = [bundle.runtime, "--root", str(bundle.states), "run", bundle.name]
    for _ in range(3):
        with subprocess.Popen(words, cwd=bundle.folder / "bundle", stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            while process.poll() is None:
                process.send_signal(signal.SIGURG)
                time.sleep(0.0005)
            assert (process.returncode, process.stderr.read()) == (3, b"")
        assert os.listdir(bundle.states) == []


def test_what_cannot_be_created_leaves_nothing(bundle: BundleRuntime) -> None:
    bundle.config["process"]["args"] = ["nowhere"]
    assert "executable file not found in $PATH" in bundle("create", bundle.name, status=1).stderr
    bundle.config["process"]["args"] = ["/etc/passwd"]
    assert "permission denied" in bundle("create", bundle.name, status=1).stderr
    bundle.config["linux"]["resources"] = {"pids": {"limit": 10}, "memory": {"limit": 1}}
    bundle.config["linux"]["sysctl"] = {"kernel.hostname": "x"}
    bundle("create", bundle.name, status=1)
    assert bundle("list", "-q").stdout == ""
    assert bundle.cgroups() == []


def test_failures_are_in_the_log_as_engines_read_them(bundle: BundleRuntime) -> None:
    log = bundle.folder / "log.json"
    bundle("--log", str(log), "--log-format", "json", "start", "nobody", status=1)
    entry = json.loads(log.read_text())
    assert (entry["level"], "nobody" in entry["msg"]) == ("error", True)


def test_a_killed_create_leaves_no_process_and_is_deleted(bundle: BundleRuntime) -> None:
    hook = bundle.folder / "hook"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\nsleep 1\n")
    hook.chmod(0o755)
    bundle.config["hooks"] = {"createRuntime": [{"path": str(hook)}]}
    bundle("create", bundle.name, status=-9)
    state = json.loads((bundle.states / bundle.name / "state.json").read_text())
    bundle.wait_for("stopped")
    assert start_time(state["pid"]) in ("", state["started"])
    bundle("delete", bundle.name)
    assert bundle("list", "-q").stdout == ""


def test_an_id_is_one_word_and_is_used_once(bundle: BundleRuntime) -> None:
    for wrong in ("", "a/b", "..", "a b"):
        assert "id" in bundle("create", wrong, status=1).stderr
    bundle.create()
    assert "already exists" in bundle("create", bundle.name, status=1).stderr
    assert bundle.state()["status"] == "created"


def test_kill_and_delete_in_the_wrong_state(bundle: BundleRuntime) -> None:
    bundle.shell("exec sleep 1000")
    bundle.create()
    bundle("start", bundle.name)
    assert "not stopped" in bundle("delete", bundle.name, status=1).stderr
    bundle("kill", bundle.name, "KILL")
    bundle.wait_for("stopped")
    assert "not running" in bundle("kill", bundle.name, "KILL", status=1).stderr
    bundle("delete", bundle.name)
    assert "does not exist" in bundle("kill", bundle.name, status=1).stderr
    bundle("delete", bundle.name, status=1)
    bundle("delete", "--force", bundle.name)


def test_delete_never_touches_a_group_that_was_there(bundle: BundleRuntime) -> None:
    """A bundle may name any group: what others have in it lives on."""
    groups = [path for path in Path("/sys/fs/cgroup").glob("*") if (path / "tasks").exists()]
    if not groups:
        return
    there = groups[0] / bundle.name
    there.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as other:
        (there / "tasks").write_text(str(other.pid))
        bundle.config["linux"]["cgroupsPath"] = f"/{bundle.name}"
        bundle.shell("exec sleep 1000")
        bundle.create()
        bundle("start", bundle.name)
        bundle("delete", "--force", bundle.name)
        assert other.poll() is None
        assert there.exists()
        other.kill()
    there.rmdir()


# --- config.json -------------------------------------------------------------------------------------------------------------


def test_later_changes_of_config_change_nothing(bundle: BundleRuntime) -> None:
    bundle.shell("echo first")
    output = bundle.create()
    bundle.shell("echo second")
    bundle("start", bundle.name)
    bundle.wait_for("stopped")
    assert output.read_text() == "first\n"


def test_user_groups_umask_and_limits(bundle: BundleRuntime) -> None:
    process = bundle.config["process"]
    process["user"] = {"uid": 1000, "gid": 1001, "umask": 0o027, "additionalGids": [5, 10]}
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    process["oomScoreAdj"] = 77
    process["cwd"] = "/made/here"
    bundle.shell("id -u; id -g; id -G; umask; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; pwd; hostname")
    lines = bundle("run", bundle.name).stdout.splitlines()
    assert lines == ["1000", "1001", "1001 5 10", "0027", "100", "200", "77", "/made/here", "bundle"]


def test_capabilities_of_another_user(bundle: BundleRuntime) -> None:
    held = ["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]
    bundle.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted", "inheritable"), held) | {"ambient": held[:1]}
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    bundle.shell("grep Cap /proc/self/status")
    sets = dict(re.findall(r"Cap(\w+):\s+(\w+)", bundle("run", bundle.name).stdout))
    assert {name: int(value, 16) for name, value in sets.items()} == {"Inh": 0x401, "Prm": 0x400, "Eff": 0x400, "Bnd": 0x401, "Amb": 0x400}


def test_devices_links_masks_and_a_readonly_root(bundle: BundleRuntime) -> None:
    bundle.config["linux"] |= {
        "devices": [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o644, "uid": 7, "gid": 8}, {"path": "/dev/pipe", "type": "p"}],
        "maskedPaths": ["/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys"],
    }
    bundle.config["root"]["readonly"] = True
    bundle.shell(
        "stat -c '%A %u %g %t %T' /dev/mine; test -p /dev/pipe && echo pipe; head -c 2 /dev/mine | od -An -tx1; readlink /dev/fd; readlink /dev/ptmx;"
        "wc -c < /proc/keys; ls /sys/firmware; echo x > /proc/sys/kernel/hostname; touch /x; echo $?"
    )
    lines = bundle("run", bundle.name, status=0, stderr=subprocess.DEVNULL).stdout.splitlines()
    assert lines == ["crw-r--r-- 7 8 1 5", "pipe", " 00 00", "/proc/self/fd", "pts/ptmx", "0", "1"]


def test_binds_say_what_they_are(bundle: BundleRuntime) -> None:
    source = bundle.folder / "source"
    (source / "inner").mkdir(parents=True)
    (source / "file").write_text("host\n")
    bundle.config["mounts"] += [
        {"destination": "/ro", "type": "bind", "source": str(source), "options": ["rbind", "ro", "nosuid", "noexec"]},
        {"destination": "/rw", "source": str(source), "options": ["bind", "rprivate"]},
        {"destination": "/file", "type": "none", "source": str(source / "file"), "options": ["bind", "ro"]},
        {"destination": "/run", "type": "tmpfs", "source": "mine", "options": ["ro", "nodev", "size=64k"]},
    ]
    bundle.shell("touch /ro/x; touch /rw/made; cat /file; grep -E ' (/ro|/rw|/run) ' /proc/mounts | cut -d' ' -f1,2,4")
    done = bundle("run", bundle.name, stderr=subprocess.DEVNULL).stdout.splitlines()
    assert done[0] == "host"
    options = {line.split(" ")[1]: set(line.split(" ")[2].split(",")) for line in done[1:]}
    assert {"ro", "nosuid", "noexec"} <= options["/ro"]
    assert "rw" in options["/rw"]
    assert {"ro", "nodev", "size=64k"} <= options["/run"]
    assert [line for line in done if line.startswith("mine /run")]
    assert (source / "made").exists()
    assert not (source / "x").exists()


def test_a_link_of_the_root_leads_no_mount_outside(bundle: BundleRuntime) -> None:
    outside = bundle.folder / "outside"
    outside.mkdir()
    (bundle.root / "trap").symlink_to(outside)
    bundle.config["mounts"].append({"destination": "/trap/inner", "type": "tmpfs", "source": "tmpfs"})
    bundle.shell("grep -c /inner /proc/mounts")
    assert bundle("run", bundle.name).stdout == "1\n"
    assert list(outside.iterdir()) == []


def test_proc_through_a_link_is_refused(bundle: BundleRuntime) -> None:
    (bundle.root / "proc").rmdir()
    (bundle.root / "proc").symlink_to("tmp")
    assert "symbolic link" in bundle("run", bundle.name, status=1).stderr


def test_a_user_namespace_and_namespaces_by_path(bundle: BundleRuntime) -> None:
    for path in (bundle.root, *bundle.root.rglob("*")):
        os.lchown(path, 100000, 100000)
    linux = bundle.config["linux"]
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    linux["namespaces"].append({"type": "user"})
    linux |= {"uidMappings": maps, "gidMappings": maps}
    bundle.shell("id -u; cat /proc/self/uid_map; ls -l /dev/null | cut -c1; echo x > /dev/null && readlink /proc/self/ns/ipc; exec sleep 1000")
    output = bundle.create()
    bundle("start", bundle.name)
    bundle.wait_for("running")
    pid = bundle.state()["pid"]
    other = bundle.name
    bundle.name += "-2"
    linux["namespaces"] = [
        {"type": "mount"}, {"type": "pid"}, {"type": "user", "path": f"/proc/{pid}/ns/user"}, {"type": "ipc", "path": f"/proc/{pid}/ns/ipc"},
    ]  # fmt: skip
    del bundle.config["hostname"], linux["uidMappings"], linux["gidMappings"]
    bundle.config["mounts"] = bundle.config["mounts"][:3]
    bundle.shell("id -u; readlink /proc/self/ns/ipc")
    mine = bundle("run", bundle.name).stdout.splitlines()
    first = output.read_text().splitlines()
    assert first[0] == "0"
    assert first[1].split() == ["0", "100000", "65536"]
    assert first[2] == "c"
    assert mine == ["0", first[3]]
    bundle("delete", "--force", other)


def test_a_path_of_another_kind_of_namespace_is_refused(bundle: BundleRuntime) -> None:
    bundle.config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}, {"type": "ipc", "path": "/proc/self/ns/net"}]
    del bundle.config["hostname"]
    bundle("create", bundle.name, status=1)


def test_time_offsets(bundle: BundleRuntime) -> None:
    bundle.config["linux"]["namespaces"].append({"type": "time"})
    bundle.config["linux"]["timeOffsets"] = {"boottime": {"secs": 10_000_000}}
    bundle.shell("cut -d. -f1 /proc/uptime")
    assert int(bundle("run", bundle.name).stdout) > 10_000_000


def test_system_call_filter(bundle: BundleRuntime) -> None:
    names = ["mkdir", "mkdirat"]
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    bundle.shell("mkdir /x; echo $?; grep Seccomp: /proc/self/status")
    done = bundle("run", bundle.name)
    assert "not supported" in done.stderr
    assert done.stdout.split() == ["1", "Seccomp:", "2"]


def test_every_poststop_hook_runs(bundle: BundleRuntime) -> None:
    told = bundle.folder / "told"
    hooks = [{"path": "/bin/false"}, {"path": "/bin/touch", "args": ["touch", str(told)]}]
    bundle.config["hooks"] = {"poststop": hooks}
    bundle.create()
    assert "/bin/false" in bundle("delete", bundle.name).stderr
    assert told.exists()


@pytest.mark.parametrize("word", ["shared", "slave", "private", "unbindable"])
def test_propagation_of_the_root_stays_inside(bundle: BundleRuntime, word: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    bundle.config["linux"]["rootfsPropagation"] = word
    bundle.shell("grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo | head -1")
    line = bundle("run", bundle.name).stdout
    marks = {"shared": "shared:", "slave": " - ", "private": " - ", "unbindable": "unbindable"}
    assert marks[word] in line
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ociVersion": "2.0.0"}, "version 2.0.0"),
        ({"ociVersion": "one"}, "semantic version"),
        ({"root": {"path": "missing"}}, "no folder"),
        ({"hostname": "x", "linux": {"namespaces": [{"type": "mount"}]}}, "no uts namespace"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}, "stands twice"),
        ({"linux": {"namespaces": [{"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}, "hostname": ""}, "no rights there"),
        ({"linux": {"namespaces": [{"type": "magic"}]}}, "unknown"),
        ({"linux": {"namespaces": [{"type": "mount"}], "intelRdt": {"closID": "x"}}, "hostname": ""}, "intelRdt is not offered"),
        ({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.panic": "1"}}, "hostname": ""}, "sysctl kernel.panic"),
        ({"linux": {"namespaces": [{"type": "mount"}], "resources": {"pids": {"limit": "x"}}}, "hostname": ""}, "not an integer"),
        ({"hooks": {"prestart": [{"path": "relative"}]}}, "not absolute"),
        ({"mounts": [{"destination": "/x", "type": "bind", "source": "/no/where", "options": ["bind"]}]}, "/no/where"),
        ({"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["colour=blue"]}]}, "colour"),
    ],
)
def test_what_is_refused(bundle: BundleRuntime, change: dict[str, object], words: str) -> None:
    bundle.config |= change
    done = bundle("create", bundle.name, status=1)
    assert words in done.stderr
    assert done.stderr.startswith("estiba: cannot ")
    assert bundle("list", "-q").stdout == ""


# --- hooks, streams, descriptors ------------------------------------------------------------------------------------------------------


def test_hooks_run_in_order_with_the_state(bundle: BundleRuntime) -> None:
    log = bundle.folder / "hooks"
    hook = bundle.folder / "hook"
    hook.write_text(f'#!/bin/sh\nread -r state\necho "$1 $(readlink /proc/self/ns/uts) $state" >> {log}\n')
    hook.chmod(0o755)
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    bundle.config["hooks"] = {kind: [{"path": str(hook), "args": ["hook", kind], "env": ["PATH=/bin:/usr/bin"], "timeout": 10}] for kind in kinds}
    bundle.config["hooks"]["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /started"]}]
    bundle.shell("exec sleep 1000")
    bundle.create()
    assert not (bundle.root / "started").exists()
    bundle("start", bundle.name)
    pid = bundle.state()["pid"]
    bundle("delete", "--force", bundle.name)
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == list(kinds)
    states = [json.loads(line[2]) for line in lines]
    assert [state["status"] for state in states] == ["creating", "creating", "creating", "running", "stopped"]
    assert [state["pid"] for state in states] == [pid, pid, pid, pid, 0]
    assert {line[1] == os.readlink("/proc/self/ns/uts") for line in lines if line[0] != "createContainer"} == {True}
    assert lines[2][1] != os.readlink("/proc/self/ns/uts")
    assert json.loads((bundle.root / "started").read_text())["status"] == "created"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_ends_create(bundle: BundleRuntime, kind: str) -> None:
    bundle.config["hooks"] = {kind: [{"path": "/bin/false"}]}
    assert "hook" in bundle("create", bundle.name, status=1).stderr
    assert bundle("list", "-q").stdout == ""


def test_a_hook_that_hangs_is_ended(bundle: BundleRuntime) -> None:
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}
    assert "did not end within 1 s" in bundle("create", bundle.name, status=1).stderr


def test_a_terminal_goes_to_the_console_socket(bundle: BundleRuntime) -> None:
    bundle.config["process"] |= {"terminal": True, "consoleSize": {"height": 20, "width": 70}}
    bundle.shell("tty; stty size; exec sleep 1000")
    path = bundle.folder / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        bundle.create("--console-socket", str(path))
        connection, _ = listener.accept()
        with connection:
            _, [master], _, _ = socket.recv_fds(connection, 100, 1)
    bundle("start", bundle.name)
    with open(master, "rb", buffering=0) as terminal:
        said = b""
        while said.count(b"\n") < 2:
            said += terminal.read(1000)
    assert said == b"/dev/pts/0\r\n20 70\r\n" or said.startswith(b"/dev/console"), said


def test_a_terminal_without_a_place_is_refused(bundle: BundleRuntime) -> None:
    bundle.config["process"]["terminal"] = True
    assert "--console-socket" in bundle("create", bundle.name, status=1).stderr


def test_only_preserved_descriptors_reach_the_program(bundle: BundleRuntime) -> None:
    bundle.shell("ls /proc/self/fd | sort -n | tr '\\n' ' '; read -r line <&3 && echo $line")
    (bundle.folder / "file").write_text("kept\n")
    third = ("sh", "-c", f'exec 3< "{bundle.folder}/file"; exec "$@"', "sh")
    assert bundle("run", "--preserve-fds", "1", bundle.name, through=third).stdout == "0 1 2 3 4 kept\n"
    bundle.shell("ls /proc/self/fd | sort -n | tr '\\n' ' '")
    assert bundle("run", bundle.name, through=third).stdout == "0 1 2 3 "


def test_the_waiting_process_shows_nothing_of_the_host(bundle: BundleRuntime) -> None:
    """What it holds open while it waits: its streams, its socket, and files of the container."""
    bundle.create()
    pid = bundle.state()["pid"]
    held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert all(not link.startswith(("/proc/1/", str(bundle.states), "/sys/fs/cgroup")) for link in held), held
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:estiba-init")
