"""The helper runs from a copy of itself that nobody can write (hardening W4, CVE-2019-5736), also where memfds cannot be executed."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.plans import HELPER, Container, named, read_until

if TYPE_CHECKING:
    from tests.support.users import User

TOP = Path(__file__).parents[2]
ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

# A program for a PID namespace of its own, which has its own vm.memfd_noexec (sysctl/vm.rst): its slots must be of its own mount
# namespace, so the container is started from there.
INSIDE = """
import os, sys, pathlib, tempfile
pathlib.Path("/proc/sys/vm/memfd_noexec").write_text("2")
from tests.support.plans import Container, make_image, upper_in, named, read_until
folder = pathlib.Path(sys.argv[1])
container = Container(make_image(folder), upper_in(folder))
with container.start("sh", "-c", "echo ready; sleep 60") as process:
    read_until(process.stdout, b"ready")
    program = f"/proc/{named(process, 'estiba-keeper')}/exe"
    print(os.readlink(program).startswith("/memfd:"), bool(os.statvfs(program).f_flag & os.ST_RDONLY))
    try:
        os.close(os.open(program, os.O_WRONLY))
    except OSError as error:
        print(error.errno)
    process.destroy()
"""


@pytest.mark.parametrize("name", ["estiba-monitor", "estiba-keeper"])
def test_sealed_copy(container: Container, name: str) -> None:
    container.stdin = 1
    with container.start("sh", "-c", "echo ready; cat") as process:
        read_until(process.stdout, b"ready")
        path = f"/proc/{named(process, name)}/exe"
        descriptor = os.open(path, os.O_RDONLY)
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & ALL_SEALS == ALL_SEALS
        os.close(descriptor)
        with pytest.raises(OSError, match=r"Text file busy|Operation not permitted"):
            os.open(path, os.O_WRONLY)
        process.communicate(timeout=60)


def test_the_file_itself_is_not_what_runs(container: Container) -> None:
    """The twin: the helper's file has no seals, and root could write it."""
    descriptor = os.open(HELPER, os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    os.close(descriptor)
    container.stdin = 1
    with container.start("sh", "-c", "echo ready; cat") as process:
        read_until(process.stdout, b"ready")
        assert os.stat(f"/proc/{named(process, 'estiba-keeper')}/exe").st_ino != os.stat(HELPER).st_ino
        process.communicate(timeout=60)


def in_pid_namespace(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{TOP / 'src'}:{TOP}"}
    return subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *words],
        env=environment, cwd=TOP, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_without_executable_memfds(tmp_path: Path) -> None:
    """vm.memfd_noexec=2: root runs it from a read-only mount of its own file instead."""
    tmp_path.chmod(0o755)
    done = in_pid_namespace(sys.executable, "-c", INSIDE, str(tmp_path))
    assert done.stderr == ""
    kind, number = done.stdout.splitlines()
    assert kind == "False True", "no memfd, and a read-only mount"
    assert int(number) in {errno.EROFS, errno.ETXTBSY}


def test_without_executable_memfds_and_privilege(user_without_subids: User) -> None:
    """Refused, with the setting by its name: it does not run unprotected."""
    helper = next(user_without_subids.python.parent.parent.glob("lib/python3*/site-packages/estiba/_bin/estiba-init"))
    command = [*user_without_subids.prefix, str(helper), "run", "0"]
    done = in_pid_namespace("sh", "-c", 'echo 2 > /proc/sys/vm/memfd_noexec; exec "$@"', "sh", *command)
    assert done.returncode == 125
    assert done.stderr == (
        "estiba: cannot start container: seal a copy of estiba-init cannot be executed: Operation not permitted\n"
        'hint: vm.memfd_noexec=2 forbids it to an ordinary user; see "estiba doctor"\n'
    )


def test_with_executable_memfds(user_without_subids: User) -> None:
    """The twin: with the usual setting the same call comes as far as reading its plan."""
    helper = next(user_without_subids.python.parent.parent.glob("lib/python3*/site-packages/estiba/_bin/estiba-init"))
    done = in_pid_namespace(*user_without_subids.prefix, str(helper), "run", "0")
    assert done.returncode == 125
    assert done.stderr.startswith("estiba: cannot start container: plan ")
