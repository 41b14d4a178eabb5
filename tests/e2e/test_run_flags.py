"""Every flag of `run` does what Docker means by it, seen from inside a container of real Alpine and from the exit code."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.support.command import Command, command_under_test
from tests.support.containers import IMAGE, Remains

SH = ("--", "sh", "-c")


def one_line(stderr: str) -> str:
    """The message: one line, then perhaps a hint."""
    lines = [line for line in stderr.splitlines() if not line.startswith("estiba: warning: ")]
    first, *rest = lines or [""]
    assert first.startswith("estiba: cannot "), stderr
    assert [line for line in rest if not line.startswith("hint: ")] == [], stderr
    return first


# --- process ------------------------------------------------------------------------------------------------------------------


def test_env_comes_from_flags_files_and_the_caller(box: Command, tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("# a comment\n\nFROM_FILE=one two\nBOTH=file\nPASSED\n")
    words = ("--env-file", "vars", "-e", "BOTH=flag", "-e", "EMPTY=", "-e", "PASSED_TOO", "-e", "UNSET_IN_CALLER")
    lines = box(*words, "--", "env", PASSED="p", PASSED_TOO="q").stdout.splitlines()
    assert {"FROM_FILE=one two", "BOTH=flag", "EMPTY=", "PASSED=p", "PASSED_TOO=q"} <= set(lines)
    assert not [line for line in lines if line.startswith(("UNSET_IN_CALLER", "BOTH=file"))]
    assert [line for line in lines if line.startswith("HOME=")] == ["HOME=/root"]


def test_workdir_is_made(box: Command) -> None:
    assert box("-w", "/made/on/the/way", "--", "pwd").stdout == "/made/on/the/way\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [("nobody", "65534:65534"), ("12345", "12345:0"), ("10:20", "10:20"), ("nobody:wheel", "65534:10"), ("0:0", "0:0")],
)
def test_user(box: Command, user: str, expected: str) -> None:
    assert box("-u", user, *SH, "echo $(id -u):$(id -g)").stdout.strip() == expected


def test_group_add(box: Command) -> None:
    assert {"10", "4321"} <= set(box("-u", "5:5", "--group-add", "wheel", "--group-add", "4321", "--", "id", "-G").stdout.split())


def test_entrypoint(box: Command) -> None:
    assert box("--entrypoint", "/bin/echo", "--", "a", "b").stdout == "a b\n"
    assert box("--entrypoint", "", "--", "echo", "c").stdout == "c\n"


def test_entrypoint_drops_the_command_of_the_image(box: Command) -> None:
    assert box("--entrypoint", "/bin/echo", "--").stdout == "\n"


def test_interactive_passes_standard_input_and_without_it_there_is_none(box: Command) -> None:
    assert box("-i", "--", "cat", stdin="through\n").stdout == "through\n"
    assert box("--", "cat", stdin="not through\n").stdout == ""


def test_tty(box: Command, alpine_store: Path, environment: dict[str, str]) -> None:
    words = [*command_under_test(), "run", "--rm", "-it", IMAGE, "sh", "-c", "tty; stty size; echo TERM=$TERM; exit 4"]
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        os.execvpe(words[0], words, environment | {"ESTIBA_ROOT": str(alpine_store)})
    output = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while data := os.read(master, 4096):
            output += data
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    lines = output.decode().split("\r\n")
    assert lines[0].startswith("/dev/pts/") or lines[0] == "/dev/console", output
    assert lines[1] == "33 101"
    assert lines[2] == "TERM=xterm"


def test_tty_of_a_caller_that_has_none(box: Command) -> None:
    assert box("-t", "--", "tty").stdout.startswith("/dev/pts/")


def test_init_is_process_1_and_reaps(box: Command) -> None:
    seen = box("--init", *SH, "echo $$; (sleep 0 & exec true); sleep 0.2; ps -o stat,comm | grep -c ^Z || true").stdout.split()
    assert seen[0] != "1"
    assert seen[1] == "0"
    assert box(*SH, "echo $$").stdout == "1\n"
    assert box("--init", *SH, "exit 9", status=9).returncode == 9


def test_ulimit(box: Command) -> None:
    assert box("--ulimit", "nofile=100:200", *SH, "ulimit -Sn; ulimit -Hn").stdout.split() == ["100", "200"]


# --- name, labels, cidfile ----------------------------------------------------------------------------------------------------


def test_name_is_the_containers_and_is_refused_twice(
    estiba: Command, alpine_store: Path, remains: Remains, environment: dict[str, str]
) -> None:
    root = str(alpine_store)
    words = [*command_under_test(), "run", "--rm", "-i", "--name", "twice", IMAGE, "sh", "-c", "echo up; cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment | {"ESTIBA_ROOT": root}) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == b"up\n"
        holder = os.readlink(alpine_store / "containers/names/twice")
        refused = estiba("run", "--rm", "--name", "twice", IMAGE, "true", status=125, ESTIBA_ROOT=root)
        assert holder[:12] in one_line(refused.stderr)
        first.stdin.close()
    assert first.returncode == 0
    estiba("run", "--rm", "--name", "twice", IMAGE, "true", ESTIBA_ROOT=root)
    assert not remains.gone({holder})


def test_without_rm_the_container_stays_with_labels_and_exit_code(estiba: Command, alpine_tar: Path, tmp_path: Path) -> None:
    estiba("import", str(alpine_tar), IMAGE)
    words = ("--name", "kept", "-l", "a=1", "--label", "b", "--cidfile", "cid", "--stop-signal", "USR1")
    estiba("run", *words, IMAGE, "sh", "-c", "echo >/written; exit 3", status=3)
    container = (tmp_path / "cid").read_text()
    folder = tmp_path / "root/containers" / container
    state = json.loads((folder / "state.json").read_text())
    assert (state["id"], state["name"]) == (container, "kept")
    assert state["labels"] == {"a": "1", "b": ""}
    assert (folder / "upper/written").exists()
    assert "exited 3" in (folder / "status").read_text()
    refused = estiba("run", "--cidfile", "cid", IMAGE, "true", status=125)
    assert "cid" in one_line(refused.stderr)
    assert (tmp_path / "cid").read_text() == container
    assert len(os.listdir(tmp_path / "root/containers")) == 2  # this one and the folder of names


def test_stop_signal_is_in_the_description(box: Command) -> None:
    text = box("--dry-run", "--stop-signal", "USR1", "--", "true").stdout
    assert json.JSONDecoder().raw_decode(text)[0]["annotations"]["org.opencontainers.image.stopSignal"] == str(signal.SIGUSR1.value)


# --- files --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shared"
    made.mkdir()
    (made / "file").write_text("of the host\n")
    return made


@pytest.mark.parametrize("form", ["-v={}:/x", "--mount=type=bind,source={},target=/x", "--mount=type=bind,src={},dst=/x"])
def test_bind(box: Command, folder: Path, form: str) -> None:
    assert box(form.format(folder), *SH, "cat /x/file; stat -c %u:%g /x/file; echo >/x/new").stdout == "of the host\n0:0\n"
    assert (folder / "new").stat().st_uid == os.geteuid()


@pytest.mark.parametrize("form", ["-v={}:/x:ro", "--mount=type=bind,source={},target=/x,readonly"])
def test_read_only_bind(box: Command, folder: Path, form: str) -> None:
    seen = box(form.format(folder), *SH, "cat /x/file; echo >/x/new", status=1)
    assert seen.stdout == "of the host\n"
    assert "Read-only file system" in seen.stderr
    assert not (folder / "new").exists()


def test_bind_of_a_file(box: Command, folder: Path) -> None:
    assert box("-v", f"{folder}/file:/etc/motd", "--", "cat", "/etc/motd").stdout == "of the host\n"


def test_volume_without_a_source_is_a_folder_of_the_containers_own(box: Command) -> None:
    assert box("-v", "/etc", *SH, "grep -c ' /etc ' /proc/self/mountinfo; touch /etc/new && test -e /etc/passwd && echo filled").stdout == "1\nfilled\n"


def test_tmpfs(box: Command) -> None:
    command = (*SH, "grep ' /t ' /proc/self/mountinfo; stat -c %a /t; touch /t/a")
    plain = box("--tmpfs", "/t:size=1m,mode=700", *command).stdout.splitlines()
    assert " - tmpfs " in plain[0]
    assert "size=1024k" in plain[0]
    assert "noexec" in plain[0]
    assert plain[1] == "700"
    mounted = box("--mount", "type=tmpfs,target=/t,tmpfs-size=2m,tmpfs-mode=1770", *command).stdout.splitlines()
    assert "size=2048k" in mounted[0]
    assert mounted[1] == "1770"
    assert box("--tmpfs", "/t", *SH, "stat -c %a /t").stdout == "1777\n"


def test_read_only_root(box: Command) -> None:
    seen = box("--read-only", "--tmpfs", "/t", *SH, "touch /t/yes && echo yes; touch /no", status=1)
    assert seen.stdout == "yes\n"
    assert "Read-only file system" in seen.stderr


def test_shm_size(box: Command) -> None:
    assert "size=2048k" in box("--shm-size", "2m", *SH, "grep ' /dev/shm ' /proc/self/mountinfo").stdout
    assert "size=65536k" in box(*SH, "grep ' /dev/shm ' /proc/self/mountinfo").stdout


def test_device(box: Command) -> None:
    assert box("--device", "/dev/zero:/dev/mine", *SH, "head -c 3 /dev/mine | wc -c; test -c /dev/mine && echo node").stdout.split() == ["3", "node"]


def test_volumes_from(estiba: Command, alpine_tar: Path, folder: Path) -> None:
    estiba("import", str(alpine_tar), IMAGE)
    estiba("run", "--name", "giver", "-v", f"{folder}:/x", "-v", "/own", IMAGE, "sh", "-c", "echo mine >/own/file")
    assert estiba("run", "--rm", "--volumes-from", "giver", IMAGE, "cat", "/x/file", "/own/file").stdout == "of the host\nmine\n"
    estiba("run", "--rm", "--volumes-from", "giver:ro", IMAGE, "touch", "/x/no", status=1)
    assert not (folder / "no").exists()


def test_volumes_of_an_image_are_folders_of_the_containers_own(estiba: Command, alpine_tar: Path) -> None:
    estiba("import", "-c", 'VOLUME ["/data"]', str(alpine_tar), "with/volume")
    assert "/volumes/0 /data " in estiba("run", "--rm", "with/volume", "grep", " /data ", "/proc/self/mountinfo").stdout


# --- isolation ----------------------------------------------------------------------------------------------------------------

NET_RAW, CHOWN, KILL, SYS_ADMIN = 13, 0, 5, 21


def effective(box: Command, *words: str) -> int:
    return int(box(*words, *SH, "grep CapEff /proc/self/status").stdout.split()[1], 16)


def test_capabilities(box: Command) -> None:
    default = effective(box)
    assert default >> CHOWN & 1
    assert not default >> SYS_ADMIN & 1
    assert effective(box, "--cap-add", "sys_admin") == default | 1 << SYS_ADMIN
    assert effective(box, "--cap-drop", "CAP_CHOWN") == default & ~(1 << CHOWN)
    assert effective(box, "--cap-drop", "ALL", "--cap-add", "kill") == 1 << KILL
    assert effective(box, "--cap-drop", "ALL") == 0
    assert effective(box, "--cap-add", "ALL", "--cap-drop", "NET_RAW") >> NET_RAW & 1 == 0
    assert effective(box, "-u", "5") == 0


def seccomp_mode(box: Command, *words: str) -> str:
    return box(*words, *SH, "grep Seccomp: /proc/self/status").stdout.split()[1]


def test_seccomp(box: Command, tmp_path: Path) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}
    (tmp_path / "profile.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    assert seccomp_mode(box) == "2"
    assert seccomp_mode(box, "--security-opt", "seccomp=unconfined") == "0"
    refused = box("--security-opt", "seccomp=profile.json", "--", "mkdir", "/made", status=1)
    assert os.strerror(42) in refused.stderr or "No message" in refused.stderr
    box("--", "mkdir", "/made")


@pytest.mark.parametrize(("words", "expected"), [((), "0"), (("--security-opt", "no-new-privileges"), "1")])
def test_no_new_privileges(box: Command, words: tuple[str, ...], expected: str) -> None:
    assert box(*words, *SH, "grep NoNewPrivs /proc/self/status").stdout.split()[1] == expected


def test_privileged_has_every_capability_of_its_user_namespace_and_no_other_namespace(box: Command) -> None:
    command = (*SH, "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; cat /proc/self/uid_map; ls /dev | wc -l")
    lines = box("--privileged", *command).stdout.splitlines()
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    own = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd")).split()[1], 16)
    held = int(lines[0].split()[1], 16)
    assert held in ((1 << last + 1) - 1, own)
    assert lines[1].split()[1] == "0"
    assert lines[2].split()[1] != "0"
    assert int(lines[-1]) > int(box(*command).stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts"])
def test_namespaces_of_the_host(box: Command, kind: str) -> None:
    read = ("--", "readlink", f"/proc/self/ns/{kind}")
    host = os.readlink(f"/proc/self/ns/{kind}")
    assert box(f"--{kind}", "host", *read).stdout.strip() == host
    assert box(*read).stdout.strip() != host


def test_network_is_none_unless_it_is_the_hosts(box: Command) -> None:
    names = (*SH, "ls /sys/class/net; readlink /proc/self/ns/net")
    for words in ((), ("--network", "none"), ("--net=none",)):
        seen = box(*words, *names).stdout.split()
        assert seen[:-1] == ["lo"]
        assert seen[-1] != os.readlink("/proc/self/ns/net")
    assert box("--network", "host", "--", "readlink", "/proc/self/ns/net").stdout.strip() == os.readlink("/proc/self/ns/net")


def test_hostname(box: Command) -> None:
    seen = box("--hostname", "a-host.example", *SH, "hostname; cat /etc/hostname; grep -c a-host /etc/hosts").stdout.split()
    assert seen == ["a-host.example", "a-host.example", "1"]


def test_hostname_without_the_flag_is_the_id_in_all_places(box: Command, tmp_path: Path) -> None:
    seen = box("--cidfile", "cid", *SH, "hostname; cat /etc/hostname; echo $HOSTNAME").stdout.split()
    assert seen == [(tmp_path / "cid").read_text()[:12]] * 3


def test_sysctl(box: Command) -> None:
    words = ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=12345")
    assert box(*words, "--", "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmax").stdout.split() == ["1", "12345"]


def test_hosts_and_name_servers(box: Command) -> None:
    words = ("--add-host", "db:10.1.2.3", "--add-host", "six=2001:db8::1", "--dns", "192.0.2.1", "--dns-search", "example.org")
    hosts, resolv = box(*words, *SH, "cat /etc/hosts; echo ---; cat /etc/resolv.conf").stdout.split("---\n")
    lines = [line.split() for line in hosts.splitlines()]
    assert ["10.1.2.3", "db"] in lines
    assert ["2001:db8::1", "six"] in lines
    assert "nameserver 192.0.2.1" in resolv.splitlines()
    assert "search example.org" in resolv.splitlines()


# --- resources ----------------------------------------------------------------------------------------------------------------


def test_memory_is_limited(box: Command) -> None:
    # tail keeps one line in memory, and a line of zeros has no end.
    killed = box("-m", "32m", "--memory-swap", "32m", *SH, "head -c 200m /dev/zero | tail", status=None, timeout=120)
    assert killed.returncode == 137
    box("-m", "32m", *SH, "head -c 1m /dev/zero | tail >/dev/null")


def test_pids_are_limited(box: Command) -> None:
    fork = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"
    refused = box("--pids-limit", "4", *SH, fork, status=None)
    assert "can't fork" in refused.stderr
    assert "can't fork" not in box("--pids-limit", "40", *SH, fork).stderr


def test_cpus_become_a_quota(box: Command, alpine_store: Path, environment: dict[str, str]) -> None:
    words = [*command_under_test(), "run", "--rm", "-i", "--cpus", "0.5", IMAGE, "sh", "-c", "echo up; cat"]
    started = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment | {"ESTIBA_ROOT": str(alpine_store)}
    )
    with started as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        container = next(name for name in os.listdir(alpine_store / "containers") if name != "names")
        groups = [path for path in Path("/sys/fs/cgroup").glob(f"**/*{container}*") if path.is_dir()]
        values = [
            (group / name).read_text().split()
            for group in groups
            for name in ("cpu.cfs_quota_us", "cpu.max")
            if (group / name).exists()
        ]
        running.stdin.close()
    assert [value[0] for value in values] == ["50000"]


# --- image --------------------------------------------------------------------------------------------------------------------


def test_pull_never_of_an_absent_image(estiba: Command) -> None:
    assert "absent" in one_line(estiba("run", "--pull", "never", "absent", "true", status=125).stderr)


def test_platform(box: Command, estiba: Command, alpine_store: Path) -> None:
    machine = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]
    box("--platform", machine, "--", "true")
    refused = estiba(
        "run", "--rm", "--platform", "linux/s390x", "--pull", "never", IMAGE, "true", status=125, ESTIBA_ROOT=str(alpine_store)
    )
    assert "s390x" in one_line(refused.stderr)


def test_with_stacks_images(box: Command, estiba: Command, alpine_store: Path, tmp_path: Path) -> None:
    root = tmp_path / "tools"
    (root / "opt").mkdir(parents=True)
    (root / "opt/tool").write_text("#!/bin/sh\necho a tool\n")
    (root / "opt/tool").chmod(0o755)
    subprocess.run(["tar", "-C", str(root), "-cf", str(tmp_path / "tools.tar"), "."], check=True)
    estiba("import", "tools.tar", "local/tools", ESTIBA_ROOT=str(alpine_store))
    assert box("--with", "local/tools", "--", "/opt/tool").stdout == "a tool\n"
    box("--", "/opt/tool", status=127)


def test_explain_is_a_waterfall_and_the_program_runs(box: Command) -> None:
    done = box("--explain", *SH, "echo ran; exit 5", status=5)
    assert "ran\n" in done.stdout
    for step in ("resolve", "spec", "mounts", "namespaces", "exec", "total"):
        assert step in done.stderr + done.stdout
    assert " ms" in done.stderr + done.stdout


def test_dry_run_prints_the_spec_and_makes_nothing(box: Command, remains: Remains) -> None:
    text = box("--dry-run", "--hostname", "dry", "--", "echo", "not run").stdout
    spec, end = json.JSONDecoder().raw_decode(text)
    assert spec["process"]["args"] == ["echo", "not run"]
    assert spec["hostname"] == "dry"
    assert "overlay" in text[end:]
    assert not remains.all()


# --- exit codes and signals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 125, 255])
def test_exit_code_is_the_programs(box: Command, code: int) -> None:
    box(*SH, f"exit {code}", status=code)


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_exit_code_of_a_signal(box: Command, name: str) -> None:
    number = getattr(signal, f"SIG{name}")
    box("--init", *SH, f"kill -{name} $$", status=128 + number)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_signals_are_passed_on(box: Command, alpine_store: Path, environment: dict[str, str], name: str) -> None:
    script = f"trap 'echo got; exit 7' {name}; echo up; while :; do sleep 0.05; done"
    words = [*command_under_test(), "run", "--rm", IMAGE, "sh", "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment | {"ESTIBA_ROOT": str(alpine_store)}) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.send_signal(getattr(signal, f"SIG{name}"))
        assert running.stdout.read() == b"got\n"
    assert running.returncode == 7


# --- bad input (a row: words, exit code, what the message says) ---------------------------------------------------------------

BAD = {
    "publish": (["-p", "80:80"], 125, "publish|network"),
    "publish garbage": (["-p", "99999"], 125, "publish|network"),
    "relative source": (["-v", "rel/x:/x"], 125, "rel/x"),
    "named volume": (["-v", "rel:/x"], 125, "rel"),
    "absent source": (["-v", "/nope/nothing:/x"], 125, "/nope/nothing"),
    "four fields": (["-v", "/a:/b:c:d"], 125, "colons"),
    "relative target": (["-v", "/tmp:rel"], 125, "absolute"),
    "root target": (["-v", "/tmp:/:ro"], 125, "root"),
    "absent source of a mount": (["--mount", "type=bind,source=/nope/nothing,target=/x"], 125, "/nope/nothing"),
    "memory 1": (["-m", "1"], 125, "6 MiB"),
    "memory 5m": (["-m", "5m"], 125, "6 MiB"),
    "memory 1x": (["-m", "1x"], 125, "1x"),
    "memory minus": (["-m", "\u22121"], 125, "\u22121"),
    "cpus 0": (["--cpus", "0"], 125, "cpus"),
    "cpus nan": (["--cpus", "nan"], 125, "nan"),
    "cpus 999": (["--cpus", "999"], 125, "processors"),
    "pids": (["--pids-limit", "many"], 125, "many"),
    "name empty": (["--name", ""], 125, "--name"),
    "name long": (["--name", "n" * 300], 125, "--name"),
    "name path": (["--name", "../x"], 125, "--name"),
    "name cyrillic": (["--name", "c\u0430fe"], 125, "--name"),
    "env file absent": (["--env-file", "absent"], 125, "absent"),
    "env file folder": (["--env-file", "/tmp"], 125, "/tmp"),
    "env file NUL": (["--env-file", "nul"], 125, "line 2|:2"),
    "env file no name": (["--env-file", "noname"], 125, "line 3|:3"),
    "env no name": (["-e", "=x"], 125, "--env"),
    "user": (["-u", "nobody-here"], 125, "nobody-here"),
    "group": (["-u", "0:nothing-here"], 125, "nothing-here"),
    "ulimit": (["--ulimit", "nofile=a"], 125, "nofile"),
    "ulimit name": (["--ulimit", "nofiles=1"], 125, "nofiles"),
    "sysctl": (["--sysctl", "x"], 125, "sysctl"),
    "sysctl of the host": (["--sysctl", "kernel.panic=1"], 125, "sysctl"),
    "capability": (["--cap-add", "FOO"], 125, "FOO"),
    "security": (["--security-opt", "foo"], 125, "foo"),
    "seccomp file": (["--security-opt", "seccomp=absent.json"], 125, "absent.json"),
    "platform": (["--platform", "x/y/z/w"], 125, "x/y/z/w"),
    "network": (["--network", "nope"], 125, "nope"),
    "stop signal": (["--stop-signal", "99"], 125, "99"),
    "restart": (["--restart", "maybe"], 125, "maybe"),
    "unknown flag": (["--nmae", "x"], 125, "--nmae"),
    "device": (["--device", "/dev/absent"], 125, "/dev/absent"),
    "volumes from": (["--volumes-from", "nobody"], 125, "nobody"),
    "absent command": (["--", "nope"], 127, "nope"),
    "absent path": (["--", "/bin/nope"], 127, "/bin/nope"),
    "empty entrypoint, no command": (["--entrypoint", "", "--"], 125, "command"),
    "folder": (["--", "/etc"], 126, "/etc"),
    "not executable": (["--", "/etc/passwd"], 126, "/etc/passwd"),
    "cidfile in no folder": (["--cidfile", "/nope/cid"], 125, "/nope/cid"),
}  # fmt: skip


@pytest.mark.parametrize("row", BAD)
def test_bad_input(box: Command, remains: Remains, tmp_path: Path, row: str) -> None:
    words, status, said = BAD[row]
    (tmp_path / "nul").write_bytes(b"A=1\nB=\0\n")
    (tmp_path / "noname").write_text("A=1\n# two\n=x\n")
    command = words if "--" in words else [*words, "--", "true"]
    refused = box(*command, status=status)
    message = one_line(refused.stderr)
    assert any(word in refused.stderr for word in said.split("|")), message
    assert refused.stdout == ""
    assert not remains.gone()
    assert not Path("/nope").exists()


PROGRAMS = {
    "wrong machine": (b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xf3\0\x01\0\0\0" + b"\0" * 100, 126, "format|riscv|architecture"),
    "no interpreter": (b"#!/nope/sh\n", 127, "/nope/sh"),
    "text": (b"echo text\n", 126, "format"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROGRAMS)
def test_program_that_cannot_be_executed(box: Command, tmp_path: Path, kind: str) -> None:
    content, status, said = PROGRAMS[kind]
    (tmp_path / "program").write_bytes(content)
    (tmp_path / "program").chmod(0o755)
    message = one_line(box("-v", f"{tmp_path}/program:/program", "--", "/program", status=None).stderr)
    assert any(word in message for word in said.split("|")), message
    box("-v", f"{tmp_path}/program:/program", "--", "/program", status=status)


# --- odd callers (row 51) -----------------------------------------------------------------------------------------------------


def shell(script: str, root: Path, environment: dict[str, str], **extra: str) -> subprocess.CompletedProcess[bytes]:
    command = " ".join(command_under_test())
    words = ["sh", "-c", script.replace("ESTIBA", command).replace("IMAGE", IMAGE)]
    done = subprocess.run(
        words, capture_output=True, check=False, timeout=60, env=environment | {"ESTIBA_ROOT": str(root)} | extra,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("script", "status", "output"),
    [
        ("ESTIBA run --rm IMAGE echo a <&-", 0, b"a\n"),
        ("ESTIBA run --rm IMAGE true >&-", 0, b""),
        ("ESTIBA run --rm IMAGE sh -c 'exit 3' 2>&-", 3, b""),
        ("unset HOME TERM; ESTIBA run --rm IMAGE echo a", 0, b"a\n"),
        ("COLUMNS=0 ESTIBA run --rm IMAGE echo a", 0, b"a\n"),
        ("ESTIBA run --rm IMAGE printf '\\377'", 0, b"\xff"),
        ("ESTIBA run --rm IMAGE echo \"$(printf 'a\\377b')\"", 0, b"a\xffb\n"),
        ("ESTIBA run --rm --dry-run IMAGE true >/dev/full", 1, b""),
    ],
)
def test_odd_callers(
    alpine_store: Path, environment: dict[str, str], remains: Remains, script: str, status: int, output: bytes
) -> None:
    done = shell(script, alpine_store, environment)
    assert (done.returncode, done.stdout) == (status, output), done.stderr
    assert not remains.gone()


def test_current_folder_that_was_removed(alpine_store: Path, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = shell(f"cd {tmp_path}/gone && rmdir ../gone && ESTIBA run --rm IMAGE echo a", alpine_store, environment)
    assert done.stdout == b"a\n" or done.stderr.startswith(b"estiba: cannot "), done.stderr


def test_arguments_of_two_megabytes(box: Command) -> None:
    words = ["x" * 100_000] * 15
    assert len(box("--", "echo", *words).stdout) == 100_001 * 15
