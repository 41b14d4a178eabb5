"""`run --isolation`: the same image, flags, streams and exit codes on a kernel of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.command import command_under_test
from tests.support.containers import IMAGE
from tests.support.kernels import EVERY_RUNG
from tests.support.plans import comm, descendants

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    from tests.support.command import Command
    from tests.support.users import User

    Guest = Callable[..., CompletedProcess[str]]

PATIENCE_SECONDS = 20


@pytest.fixture
def guest(box: Command, rung: tuple[str, ...]) -> Guest:
    """As `box`, on a kernel of its own."""

    def run(*words: str, **rest: object) -> CompletedProcess[str]:
        words = words if "--" in words else ("--", *words)
        return box(*rung, *words, **rest)  # type: ignore[arg-type]

    return run


def test_image_runs_on_another_kernel(guest: Guest) -> None:
    release, version = guest("sh", "-c", "cat /etc/alpine-release; uname -r").stdout.split()
    assert release == "3.20.3"
    assert version != os.uname().release


@EVERY_RUNG
def test_streams_are_apart(guest: Guest) -> None:
    done = guest("sh", "-c", "echo out; echo err >&2; exit 42", status=42)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


@EVERY_RUNG
def test_input_and_its_end(guest: Guest) -> None:
    text = "".join(f"{number}\n" for number in range(20000))
    assert guest("-i", "--", "cat", stdin=text).stdout == text


@EVERY_RUNG
def test_every_byte_passes(guest: Guest) -> None:
    """A serial line that were not raw would lose or change some."""
    script = 'i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i+1)); done | tee /all; md5sum < /all >&2'
    done = guest("sh", "-c", script)
    assert done.stdout.encode(errors="surrogateescape") == bytes(range(256))


@EVERY_RUNG
def test_output_larger_than_every_window(guest: Guest) -> None:
    done = guest("sh", "-c", "head -c 1000000 /dev/zero; head -c 300000 /dev/zero >&2")
    assert (len(done.stdout), len(done.stderr)) == (1000000, 300000)


def test_reader_that_has_enough(rung: tuple[str, ...], alpine_store: Path, environment: dict[str, str]) -> None:
    run = [*command_under_test(), "run", "--rm", *rung, IMAGE, "yes"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, env=environment | {"ESTIBA_ROOT": str(alpine_store)}) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(timeout=PATIENCE_SECONDS) == -signal.SIGPIPE


@pytest.mark.parametrize(("command", "status"), [("/nosuch", 127), ("nosuch", 127), ("/etc", 126), ("/etc/passwd", 126)])
def test_what_cannot_be_executed(guest: Guest, box: Command, command: str, status: int) -> None:
    assert guest(command, status=status).stderr == box(command, status=status).stderr


def test_status_by_signal(guest: Guest) -> None:
    guest("--init", "--", "sh", "-c", "kill -TERM $$; sleep 5", status=143)


SAME = "id; pwd; env | sort | grep -v HOSTNAME; umask; ulimit -n; ulimit -c; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-u", "nobody", "-w", "/tmp", "-e", "A=b"],
        ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
        ["--privileged"],
        ["--group-add", "10", "--ulimit", "nofile=99:99"],
        ["--security-opt", "seccomp=unconfined"],
    ],
    ids=" ".join,
)
def test_process_is_as_on_the_hosts_kernel(guest: Guest, box: Command, options: list[str]) -> None:
    command = ["sh", "-c", SAME]
    inside, outside = (run(*options, "--", *command).stdout for run in (guest, box))
    # A kernel without a capability that the host's has does not show it.
    capabilities = re.compile(r"^(Cap\w+):\s*([0-9a-f]+)$", re.MULTILINE)
    last = int(guest("cat", "/proc/sys/kernel/cap_last_cap").stdout)
    known = (1 << (last + 1)) - 1
    outside = capabilities.sub(lambda m: f"{m[1]}:\t{int(m[2], 16) & known:016x}", outside)
    assert inside == outside


@EVERY_RUNG
def test_root_file_system_is_the_containers(guest: Guest) -> None:
    script = (
        "echo x > /new && chown 1000:2000 /new && rm /etc/passwd && mv /etc/group /moved && ls -ln /new | cut -c1-10 && stat -c %u:%g /new"
    )
    assert guest("sh", "-c", script).stdout == "-rw-r--r--\n1000:2000\n"
    guest("sh", "-c", "test -e /etc/passwd && ! test -e /new")
    guest("--read-only", "--", "sh", "-c", "echo x > /new", status=1)


def test_layers_are_one_file_for_all_guests(guest: Guest, alpine_store: Path) -> None:
    guest("true")
    before = {path: path.stat().st_ino for path in alpine_store.glob("layers/*/erofs")}
    guest("true")
    assert {path: path.stat().st_ino for path in alpine_store.glob("layers/*/erofs")} == before
    assert before


# --- files of the host -------------------------------------------------------------------------------------------------------


@EVERY_RUNG
def test_binds(guest: Guest, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "inside").write_text("of the host\n")
    file.write_text("a file\n")
    script = "cat /b/inside /f; echo new > /b/new; mkdir /b/sub; ! echo x > /f"
    assert guest("-v", f"{folder}:/b", "-v", f"{file}:/f:ro", "--", "sh", "-c", script).stdout == "of the host\na file\n"
    assert (folder / "new").read_text() == "new\n"
    assert (folder / "sub").is_dir()
    assert file.read_text() == "a file\n"
    owner = (folder / "new").stat()
    assert (owner.st_uid, owner.st_gid) == (os.geteuid(), os.getegid())


@EVERY_RUNG
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
def test_owners_of_binds(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 1234, 4321)
    script = "stat -c %u:%g /b/file; chown 5:6 /b/file; su nobody -s /bin/sh -c 'cat /b/secret'"
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    done = guest("-v", f"{tmp_path}:/b", "--", "sh", "-c", script, status=1)
    assert done.stdout == "1234:4321\n"
    assert "Permission denied" in done.stderr
    assert ((tmp_path / "file").stat().st_uid, (tmp_path / "file").stat().st_gid) == (5, 6)


def test_tmpfs_and_anonymous_volume(guest: Guest) -> None:
    script = "grep -c ' /t tmpfs' /proc/mounts; ls /v | head -1; echo x > /v/file"
    assert guest("--tmpfs", "/t", "-v", "/v", "--", "sh", "-c", script).stdout == "1\n"
    assert guest("-v", "/etc/apk", "--", "cat", "/etc/apk/arch").stdout == "x86_64\n", "an empty volume is filled from the image"


# --- terminal and signals -----------------------------------------------------------------------------------------------------


def on_terminal(command: list[str], environment: dict[str, str], answers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Runs a command on a terminal of its own; returns its status and what it wrote there. `answers`: what is typed once a text was seen."""
    master, slave = pty.openpty()
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True) as process:
        os.close(slave)
        said, left = b"", list(answers)
        while select.select([master], [], [], PATIENCE_SECONDS)[0]:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            said += data
            if left and left[0][0] in said:
                os.write(master, left.pop(0)[1])
        status = process.wait(timeout=PATIENCE_SECONDS)
    os.close(master)
    return status, said


@EVERY_RUNG
def test_terminal(rung: tuple[str, ...], alpine_store: Path, environment: dict[str, str]) -> None:
    command = [*command_under_test(), "run", "--rm", "-it", *rung, IMAGE]
    script = "test -t 0 && test -t 1 && tty; echo ready; read line; echo got $line; read line"
    answers = [(b"ready", b"word\n"), (b"got word", b"\x03")]
    status, said = on_terminal([*command, "sh", "-c", script], environment | {"ESTIBA_ROOT": str(alpine_store)}, answers)
    assert b"/dev/pts/0" in said
    assert b"got word" in said
    assert status == 130, said


@EVERY_RUNG
def test_signals_reach_the_program(rung: tuple[str, ...], alpine_store: Path, environment: dict[str, str]) -> None:
    script = "trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"
    command = [*command_under_test(), "run", "--rm", *rung, IMAGE, "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment | {"ESTIBA_ROOT": str(alpine_store)}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"usr1\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"term\n"
        assert process.wait(timeout=PATIENCE_SECONDS) == 9


# --- ordinary users -----------------------------------------------------------------------------------------------------------


@EVERY_RUNG
def test_ordinary_user_with_subordinate_ids(user_with_subids: User, alpine_tar: Path, rung: tuple[str, ...]) -> None:
    check_ordinary_user(user_with_subids, alpine_tar, rung, "42")


def test_ordinary_user_with_one_id(user_without_subids: User, alpine_tar: Path, rung: tuple[str, ...]) -> None:
    check_ordinary_user(user_without_subids, alpine_tar, rung, "0")


def check_ordinary_user(user: User, alpine_tar: Path, rung: tuple[str, ...], shadow: str) -> None:
    kernel = user.folder / "linux"
    kernel.write_bytes(Path(rung[-1]).read_bytes())
    kernel.chmod(0o755)
    archive = user.folder / "alpine.tar.gz"
    archive.write_bytes(alpine_tar.read_bytes())
    archive.chmod(0o644)
    user.estiba("import", str(archive), "alpine")
    script = "id -u; stat -c %g /etc/shadow; head -c 4 /etc/shadow; echo; echo x > /b/new"
    (user.folder / "b").mkdir(exist_ok=True)
    os.chown(user.folder / "b", user.uid, user.gid)
    run = ("run", "--rm", *rung[:-1], str(kernel), "-v", f"{user.folder}/b:/b", "alpine", "sh", "-c", script)
    done = user.estiba(*run)
    assert done.stdout == f"0\n{shadow}\nroot\n"
    assert (user.folder / "b" / "new").stat().st_uid == user.uid
    user.run("rm", "-r", str(user.folder / "b"))


# --- limits -------------------------------------------------------------------------------------------------------------------

EATER = "x=0123456789abcdef; while :; do x=$x$x; done"


def test_memory_is_the_machines(guest: Guest) -> None:
    (total,) = re.findall(r"MemTotal: +(\d+) kB", guest("-m", "64m", "--", "cat", "/proc/meminfo").stdout)
    assert 48 << 10 < int(total) < 64 << 10
    guest("-m", "64m", "--", "sh", "-c", EATER, status=137)
    assert guest("-m", "64m", "--", "echo", "within").stdout == "within\n"


def test_number_of_processes(guest: Guest) -> None:
    forks = "sleep 1 & sleep 1 & sleep 1 & sleep 1"
    done = guest("--pids-limit", "3", "--", "sh", "-c", forks, status=None)
    assert "an't fork" in done.stderr or "annot fork" in done.stderr
    assert guest("sh", "-c", f"{forks}; cat /sys/fs/cgroup/pids.max; echo 1 > /sys/fs/cgroup/pids.max", status=1).stdout == "2048\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may have no control groups")
def test_processors_are_the_hosts(guest: Guest, rung: tuple[str, ...], alpine_store: Path, environment: dict[str, str]) -> None:
    command = [*command_under_test(), "run", "--rm", "-i", "--cpus", "0.2", *rung, IMAGE]
    with subprocess.Popen(
        [*command, "sh", "-c", "echo up; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | {"ESTIBA_ROOT": str(alpine_store)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        monitors = [pid for pid in descendants(process.pid) if comm(pid) == "linux"]
        groups = [line.rsplit(":", 1)[1] for line in Path(f"/proc/{monitors[0]}/cgroup").read_text().splitlines()]
        folders = [folder for group in groups for folder in Path("/sys/fs/cgroup").glob(f"**{group}") if "estiba" in group]
        quotas = [
            (folder / name).read_text().split()[0]
            for folder in folders
            for name in ("cpu.max", "cpu.cfs_quota_us")
            if (folder / name).exists()
        ]
        process.communicate(b"\n", timeout=PATIENCE_SECONDS)
    assert "20000" in quotas
    assert "User-Mode Linux has one processor\nhint: --isolation partial" in guest("--cpus", "1.5", "--", "true", status=125).stderr
